"""Predictors of success: the probability that a model answers a prompt well.

Until there is feedback, the prior predicts from the model's tier and the prompt's difficulty:

    success = sigmoid(strength of the tier - SLOPE * level of the prompt)

A learned predictor has the same interface; `Router.predictor` is the one in use.
"""

from __future__ import annotations

import math
from typing import Protocol

from proxy.core.model import Deployment, Tier
from proxy.routing.classify.rules import Profile

STEP = 0.4  # log-odds between the strengths of two tiers
SLOPE = 0.35  # log-odds that one level of difficulty costs
_STRENGTH: dict[Tier | None, float] = {"low": 0.9, "medium": 0.9 + STEP, "high": 0.9 + 2 * STEP, None: 0.9 + 0.5 * STEP}
_QUALITY: dict[Tier | None, float] = {"low": 0.3, "medium": 0.6, "high": 0.9, None: 0.45}
_QUALITY_STEP = 0.3  # of `quality`, between two tiers
_WITHIN_TIER = 0.49  # of a step, by which `quality` moves a model within its tier
_LEVELS = 3.0


class Predictor(Protocol):
    """Predicts without I/O, clock or chance: the same arguments and version give the same number."""

    version: str  # goes into the decision record; changes with every change of the predictions

    def success(self, profile: Profile, deployment: Deployment, tier: Tier | None) -> float:
        """Return the probability, 0 to 1, that the answer of the model will be good.

        `tier` is the model's own, or that of the list in `routing.tiers` that contains it.
        """
        ...

    def required(self, profile: Profile, needed: Tier) -> float:
        """Return the success that a prompt needs: that of an average model of a tier."""
        ...

    def revise(self, profile: Profile) -> Profile:
        """Return the profile with the score and the tier that follow from what has been learned, if anything has."""
        ...


class PriorPredictor:
    """The prior: a model's strength follows from its tier, and from `quality` within the tier."""

    version = "prior 1"

    def success(self, profile: Profile, deployment: Deployment, tier: Tier | None) -> float:
        """Return the prior probability of a good answer."""
        return sigmoid(strength(deployment, tier) - SLOPE * level(profile))

    def revise(self, profile: Profile) -> Profile:
        """Return the profile as the classifier has made it."""
        return profile

    def required(self, profile: Profile, needed: Tier) -> float:
        """Return the prior success of an average model of the tier that the prompt needs."""
        return sigmoid(_STRENGTH[needed] - SLOPE * level(profile))


PRIOR = PriorPredictor()


def strength(deployment: Deployment, tier: Tier | None) -> float:
    """Return the log-odds of success of a model at a prompt between the low and the medium tier."""
    if deployment.quality is None:
        return _STRENGTH[tier]
    steps = (deployment.quality - _QUALITY[tier]) / _QUALITY_STEP
    if tier is not None:
        steps = max(-_WITHIN_TIER, min(_WITHIN_TIER, steps))
    return _STRENGTH[tier] + STEP * steps


def level(profile: Profile) -> float:
    """Return the difficulty in tiers, -3 to 3: 0 where the medium tier begins, 1 where the high one begins."""
    medium, high = profile.cuts
    return max(-_LEVELS, min(_LEVELS, (profile.score - medium) / (high - medium)))


def sigmoid(log_odds: float) -> float:
    """Return the probability with these log-odds."""
    return 1.0 / (1.0 + math.exp(-log_odds))


def log_odds(probability: float) -> float:
    """Return the log-odds of a probability, which is kept away from 0 and 1."""
    bounded = max(1e-4, min(1.0 - 1e-4, probability))
    return math.log(bounded / (1.0 - bounded))
