"""The check of new weights before they serve, on labels of prompts that they were not fitted to.

1. *Error.* The mean squared error of the predicted success must not exceed that of the prior. Labels count by the
   inverse of their propensity, at most 10.
2. *Value.* With the strong models for as many prompts as in the log, the mean score of the answers, estimated doubly
   robustly (Dudik et al. 2011), must not be lower than with the classifier's scores by more than its standard error.
   The same holds against the state that serves, for labels that are newer than it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any
from zlib import crc32

from proxy.core.model import Tier
from proxy.learning.labels import Label
from proxy.routing.classify.rules import Profile
from proxy.routing.learned import LearnedPredictor, State, gain
from proxy.routing.predict import PRIOR

FOLDS = 5
LEAST = 20  # labels that are held out; with fewer nothing can be said
_MOST_INVERSE = 10.0


@dataclass(frozen=True, slots=True)
class Judged:
    """A label that is held out."""

    label: Label
    profile: Profile
    weight: float

    @staticmethod
    def is_held_out(call_id: str) -> bool:
        """Return whether the labels of a call are held out, which its id decides."""
        return crc32(call_id.encode()) % FOLDS == 0

    @property
    def inverse(self) -> float:
        """The weight with the inverse of the propensity."""
        return self.weight * min(_MOST_INVERSE, 1.0 / max(self.label.propensity, 1e-6))


def checked(
    new: State | None, serving: State | None, held_out: Sequence[Judged], tiers: Mapping[str, Tier | None]
) -> dict[str, Any]:
    """Return the result: `passed`, the numbers, and the reason if it has not passed."""
    known = [each for each in held_out if new is not None and each.label.model in new.models]
    if new is None or len(known) < LEAST:
        return {"passed": False, "held_out": len(known), "reason": f"fewer than {LEAST} labels are held out"}
    predictor = LearnedPredictor(new)
    error, before = _errors(predictor, known, tiers)
    result: dict[str, Any] = {"held_out": len(known), "error": round(error, 5), "error_of_prior": round(before, 5)}
    if error > before:
        return {**result, "passed": False, "reason": "the predictions are worse than the prior's"}
    if new.score is not None:
        fresh = [each for each in known if serving is not None and each.label.time > serving.until]
        change, deviation = _value(predictor, None, known)
        result |= {"value": round(change, 5), "value_error": round(deviation, 5)}
        if change < -deviation:
            return {**result, "passed": False, "reason": "the choices would be worse than without learning"}
        if len(fresh) >= LEAST:
            change, deviation = _value(predictor, serving, fresh)
            if change < -deviation:
                return {
                    **result,
                    "passed": False,
                    "reason": "the choices would be worse than now",
                }
    return {**result, "passed": True}


def _errors(
    predictor: LearnedPredictor, held_out: Sequence[Judged], tiers: Mapping[str, Tier | None]
) -> tuple[float, float]:
    """Return the weighted mean squared error of the new predictions, and of the prior."""
    new = before = total = 0.0
    for each in held_out:
        value = min(1.0, max(0.0, predictor.values(each.profile)[each.label.model]))
        prior = PRIOR.required(each.profile, tiers.get(each.label.model) or "medium")
        new += each.inverse * (each.label.score - value) ** 2
        before += each.inverse * (each.label.score - prior) ** 2
        total += each.inverse
    return new / total, before / total


def _value(predictor: LearnedPredictor, serving: State | None, held_out: Sequence[Judged]) -> tuple[float, float]:
    """Return by how much the mean score changes with the new scores, and the standard error of the estimate."""
    scale = predictor.state.score
    assert scale is not None
    judged = [each for each in held_out if each.label.model in (*scale.low, *scale.high)]
    values = [predictor.values(each.profile) for each in judged]
    gains = [gain(scale.low, scale.high, value) for value in values]
    old = LearnedPredictor(serving) if serving is not None else None
    scores = [each.profile.score if old is None else old.revise(each.profile).score for each in judged]
    strong = [each.label.model in scale.high for each in judged]
    share = sum(strong)
    if not 0 < share < len(judged):
        return 0.0, 0.0
    new_choice, old_choice = _largest(gains, share), _largest(scores, share)
    changes = []
    for each, value, benefit, was_strong, new, before in zip(
        judged, values, gains, strong, new_choice, old_choice, strict=True
    ):
        change = benefit * (new - before)
        if new != before:  # the log shows the answer of one of the two choices
            residual = (each.label.score - value[each.label.model]) * min(
                _MOST_INVERSE, 1.0 / max(each.label.propensity, 1e-6)
            )
            change += residual if was_strong == new else -residual
        changes.append(change)
    return fmean(changes), pstdev(changes) / math.sqrt(len(changes))


def _largest(values: Sequence[float], count: int) -> list[bool]:
    """Return for each value whether it is one of the `count` largest."""
    order = sorted(range(len(values)), key=lambda at: (-values[at], at))
    chosen = set(order[:count])
    return [at in chosen for at in range(len(values))]
