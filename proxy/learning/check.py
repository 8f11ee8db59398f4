"""The check of new weights before they serve, on labels of prompts that they were not fitted to.

1. *Error.* The mean squared error of the predicted success must not exceed that of the prior by more than its standard
   error. Labels count by the inverse of their propensity, at most 10.
2. *Value.* With the strong models for as many prompts as in the log, the mean score of the answers must not be lower
   than with the classifier's scores by more than its standard error. For prompts with labels of a weak and of a strong
   model it is known, for others it is estimated doubly robustly (Dudik et al. 2011). The same holds against the state
   that serves, for labels that are newer than it.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import mul
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
_SLICE = 50  # predictions between two yields: about 2 ms

Values = Mapping[str, float]  # learned, by model
Work = Generator[None, None, Any]


@dataclass(frozen=True, slots=True)
class Judged:
    """A label that is held out."""

    label: Label
    profile: Profile
    weight: float

    @staticmethod
    def is_held_out(label: Label) -> bool:
        """Return whether a label is held out, which its prompt decides: so are all labels of that prompt."""
        return crc32(label.features or b"") % FOLDS == 0

    @property
    def inverse(self) -> float:
        """The inverse of the propensity."""
        return min(_MOST_INVERSE, 1.0 / max(self.label.propensity, 1e-6))


@dataclass(slots=True)
class _Prompt:
    """A prompt with its labels of weak and of strong models."""

    values: Values
    score: float  # of the classifier or of the state that serves
    weak: list[Judged] = field(default_factory=list)
    strong: list[Judged] = field(default_factory=list)

    @property
    def strong_share(self) -> float:
        """The share of its labels that belong to strong models."""
        return len(self.strong) / (len(self.weak) + len(self.strong))

    def benefit(self, gain: float) -> float:
        """Return by how much a strong model does better: observed, or the prediction corrected by what is known."""
        if self.weak and self.strong:
            weak, strong = (fmean([each.label.score for each in side]) for side in (self.weak, self.strong))
            return strong - weak
        side, sign = (self.strong, 1.0) if self.strong else (self.weak, -1.0)
        return gain + sign * fmean([(each.label.score - self.values[each.label.model]) * each.inverse for each in side])


def checked(
    new: State | None, serving: State | None, held_out: Sequence[Judged], tiers: Mapping[str, Tier | None]
) -> Work:
    """Return the result: `passed`, the numbers, and the reason if it has not passed. Yield often."""
    known = [each for each in held_out if new is not None and each.label.model in new.models]
    if new is None or len(known) < LEAST:
        return {"passed": False, "held_out": len(known), "reason": f"fewer than {LEAST} labels are held out"}
    predictor, values = LearnedPredictor(new), []
    for number, each in enumerate(known):
        values.append(predictor.values(each.profile))
        if number % _SLICE == _SLICE - 1:
            yield
    error, before, deviation = _errors(known, values, tiers)
    result: dict[str, Any] = {"held_out": len(known), "error": round(error, 5), "error_of_prior": round(before, 5)}
    if error > before + deviation:
        return {**result, "passed": False, "reason": "the predictions are worse than the prior's"}
    if new.score is not None:
        change, deviation = yield from _value(predictor, None, known, values)
        result |= {"value": round(change, 5), "value_error": round(deviation, 5)}
        if change < -deviation:
            return {**result, "passed": False, "reason": "the choices would be worse than without learning"}
        fresh = [at for at, each in enumerate(known) if serving is not None and each.label.time > serving.until]
        if len(fresh) >= LEAST:
            newer = [known[at] for at in fresh], [values[at] for at in fresh]
            change, deviation = yield from _value(predictor, serving, *newer)
            if change < -deviation:
                return {**result, "passed": False, "reason": "the choices would be worse than now"}
    return {**result, "passed": True}


def _errors(
    held_out: Sequence[Judged], values: Sequence[Values], tiers: Mapping[str, Tier | None]
) -> tuple[float, float, float]:
    """Return the weighted mean squared error of the new predictions, that of the prior, and the error of the change."""
    new, before, weights = [], [], []
    for each, value in zip(held_out, values, strict=True):
        prior = PRIOR.required(each.profile, tiers.get(each.label.model) or "medium")
        weights.append(each.weight * each.inverse)
        new.append((each.label.score - min(1.0, max(0.0, value[each.label.model]))) ** 2)
        before.append((each.label.score - prior) ** 2)
    total = sum(weights)
    first, second = (sum(map(mul, weights, errors)) / total for errors in (new, before))
    changes = [one - other for one, other in zip(new, before, strict=True)]
    squares = [(weight * (change - first + second)) ** 2 for weight, change in zip(weights, changes, strict=True)]
    return first, second, math.sqrt(sum(squares)) / total


def _value(
    predictor: LearnedPredictor, serving: State | None, held_out: Sequence[Judged], values: Sequence[Values]
) -> Work:
    """Return by how much the mean score changes with the new scores, and the standard error of the estimate."""
    scale = predictor.state.score
    assert scale is not None
    old = LearnedPredictor(serving) if serving is not None else None
    prompts: dict[bytes | None, _Prompt] = {}
    for number, (each, value) in enumerate(zip(held_out, values, strict=True)):
        model, features = each.label.model, each.label.features
        if model not in (*scale.low, *scale.high):
            continue
        if features not in prompts:
            prompts[features] = _Prompt(value, each.profile.score if old is None else old.revise(each.profile).score)
        (prompts[features].strong if model in scale.high else prompts[features].weak).append(each)
        if number % _SLICE == _SLICE - 1:
            yield
    listed = list(prompts.values())
    count = round(sum([prompt.strong_share for prompt in listed]))
    if not 0 < count < len(listed):
        return 0.0, 0.0
    new_choice = _largest([gain(scale, prompt.values) for prompt in listed], count)
    old_choice = _largest([prompt.score for prompt in listed], count)
    changes = []
    for prompt, new, before in zip(listed, new_choice, old_choice, strict=True):
        changes.append((new - before) * prompt.benefit(gain(scale, prompt.values, 1.0)) if new != before else 0.0)
    return fmean(changes), pstdev(changes) / math.sqrt(len(changes))


def _largest(values: Sequence[float], count: int) -> list[bool]:
    """Return for each value whether it is one of the `count` largest."""
    order = sorted(range(len(values)), key=lambda at: (-values[at], at))
    chosen = set(order[:count])
    return [at in chosen for at in range(len(values))]
