"""The learned predictor: what judged answers say about the success of each model, blended with the prior.

    value(model)   = intercept + weights . inputs + sum(hashed weight * count) / root of all counts
    success(model) = (1 - share) * prior + share * value, where the share grows with the number of labels

Labels have a scale of their own: what a strict judge gives 0.5, another one gives 0.9. So the success that a prompt
needs is that of the learned models of the needed tier, and models without labels are moved by as much as the others.

If models of a low and of a high tier have been learned, the prompt's score is blended in the same way with their
difference, scaled to the mean and the deviation of the scores: a prompt is hard if the strong models do better at it.
`proxy/learning` makes the state.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import mul
from typing import Any

from msgspec import Struct, msgpack

from proxy.core.model import Deployment, Tier
from proxy.routing.classify.features import BUCKETS
from proxy.routing.classify.packed import LENGTH
from proxy.routing.classify.rules import Profile, tier_of
from proxy.routing.predict import PRIOR, log_odds, sigmoid

_DENSE = struct.Struct(f"<{LENGTH}f")
_HASHED = struct.Struct(f"<{BUCKETS}e")
_MOST, _LEAST = 0.98, 0.02  # predictions are kept away from certainty
_TERM = "learned from feedback"


class Fitted(Struct, frozen=True):
    """What was learned of one model."""

    tier: Tier | None
    labels: int
    share: float  # of the learned value in a prediction
    intercept: float
    dense: bytes  # 32-bit numbers
    hashed: bytes  # half-precision numbers


class ScoreMap(Struct, frozen=True):
    """How the difference between strong and weak models becomes a score."""

    low: tuple[str, ...]
    high: tuple[str, ...]
    share: float
    gain_mean: float
    gain_deviation: float
    score_mean: float
    score_deviation: float
    strong: float = 1.0  # what the success of the strong models counts, beside the failure of the weak ones


class State(Struct, frozen=True):
    """One version of what was learned."""

    version: int
    labels: int
    until: int  # the time of the newest label, in microseconds since 1970
    models: dict[str, Fitted]
    score: ScoreMap | None = None
    check: dict[str, Any] = {}


def encode(state: State) -> bytes:
    """Return the stored form of a state."""
    return msgpack.encode(state)


def decode(stored: bytes) -> State:
    """Return a state that was stored. Raises `msgspec.DecodeError`."""
    return msgpack.decode(stored, type=State)


def packed(dense: Sequence[float], hashed: Mapping[int, float]) -> tuple[bytes, bytes]:
    """Return the weights of a model as they are stored."""
    table = [0.0] * BUCKETS
    for bucket, weight in hashed.items():
        table[bucket] = weight
    return _DENSE.pack(*dense), _HASHED.pack(*table)


class LearnedPredictor:
    """A predictor for one state. It never changes; another state gets another predictor."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.version = f"learned {state.version}"
        self._models = {
            name: (each.intercept, _DENSE.unpack(each.dense), _HASHED.unpack(each.hashed))
            for name, each in state.models.items()
        }

    def values(self, profile: Profile) -> dict[str, float]:
        """Return the learned value of each model; nothing for a profile without inputs."""
        if len(profile.inputs) != LENGTH:
            return {}
        hashed, inputs = profile.hashed, profile.inputs
        root = max(sum([times for _, times in hashed]), 1) ** 0.5
        values = {}
        for name, (intercept, dense, table) in self._models.items():
            words = sum([table[bucket] * times for bucket, times in hashed])
            values[name] = intercept + sum(map(mul, dense, inputs)) + words / root
        return values

    def revise(self, profile: Profile) -> Profile:
        """Return the profile with the success of the learned models, and with the score that follows from them."""
        values = self.values(profile)
        if not values:
            return profile
        learned = {name: self._blended(profile, name, value) for name, value in values.items()}
        score = self.score(profile, values)
        if score is None:
            return replace(profile, learned=learned)
        term = (_TERM, round(score - profile.score, 4))
        features = sorted((*profile.features[:-1], term), key=lambda each: (-abs(each[1]), each[0]))
        return replace(
            profile,
            score=score,
            tier=tier_of(score, profile.cuts),
            features=tuple(features),
            learned=learned,
            before_learning=profile.score,
        )

    def score(self, profile: Profile, values: Mapping[str, float]) -> float | None:
        """Return the score after learning; `None` if it stays as it is."""
        scale = self.state.score
        if scale is None:
            return None
        deviations = (gain(scale, values) - scale.gain_mean) / scale.gain_deviation
        learned = scale.score_mean + scale.score_deviation * deviations
        return round(min(1.0, max(0.0, (1.0 - scale.share) * profile.score + scale.share * learned)), 4)

    def success(self, profile: Profile, deployment: Deployment, tier: Tier | None) -> float:
        """Return the probability of a good answer."""
        learned = profile.learned.get(deployment.name)
        return self._moved(profile, PRIOR.success(profile, deployment, tier)) if learned is None else learned

    def required(self, profile: Profile, needed: Tier) -> float:
        """Return the success of the learned models of a tier; without any, that of the prior, moved like theirs."""
        own = [value for name, value in profile.learned.items() if self.state.models[name].tier == needed]
        return sum(own) / len(own) if own else self._moved(profile, PRIOR.required(profile, needed))

    def _moved(self, profile: Profile, prior: float) -> float:
        """Return a prior success, moved by as much as the learned models differ from theirs."""
        if not profile.learned:
            return prior
        changes = [log_odds(value) - log_odds(self._prior(profile, name)) for name, value in profile.learned.items()]
        return sigmoid(log_odds(prior) + sum(changes) / len(changes))

    def _blended(self, profile: Profile, name: str, value: float) -> float:
        share = self.state.models[name].share
        return min(_MOST, max(_LEAST, (1.0 - share) * self._prior(profile, name) + share * value))

    def _prior(self, profile: Profile, name: str) -> float:
        return PRIOR.required(profile, self.state.models[name].tier or "medium")


def gain(scale: ScoreMap, values: Mapping[str, float], strong: float | None = None) -> float:
    """Return the mean value of strong models, times what it counts, minus that of weak ones."""
    high = sum([values[name] for name in scale.high]) / len(scale.high)
    low = sum([values[name] for name in scale.low]) / len(scale.low)
    return (scale.strong if strong is None else strong) * high - low
