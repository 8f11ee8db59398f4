"""Calibration of `routing.cost`: which prompts go to strong models, so that their share is the configured one.

A prompt goes to a strong model if its score is at least the threshold: the quantile, at the target, of the last scores
and of the shipped scores, which count as `PRIOR_WEIGHT` requests. What the realised share has missed is made up over
the next `HORIZON` requests. The threshold changes every `EVERY` requests, so decisions between two changes depend on
the request alone.

Calibration reads no clock and draws nothing: the same requests in the same order give the same thresholds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from proxy.core.plan import CostSample
from proxy.core.policies import CostTarget

WINDOW = 500  # requests whose scores count
PRIOR_WEIGHT = 30.0  # requests that the shipped scores count for
EVERY = 20  # requests between two thresholds
HORIZON = 40.0  # requests over which a missed share is made up
# quantiles of the scores of the rules, and of a classifier whose scores are unknown
RULE_SCORES = (
    *(0.1, 0.117, 0.121, 0.126, 0.138, 0.173, 0.215, 0.264, 0.306, 0.326, 0.338),
    *(0.347, 0.355, 0.362, 0.369, 0.377, 0.385, 0.394, 0.408, 0.434, 0.783),
)
EVEN_SCORES = tuple(step / 20 for step in range(21))

_MOST_MISSED = 15.0  # requests; more is forgotten, so that an outage of one side has no long effect


@dataclass(frozen=True, slots=True)
class Calibration:
    """A threshold and where it comes from; immutable."""

    target: CostTarget
    threshold: float
    inclusive: bool = True  # whether a score that equals the threshold goes to a strong model
    version: int = 0  # the number of changes
    realised: float | None = None  # the share of the last requests, as `target` counts it

    def needs_strong(self, score: float) -> bool:
        """Return whether a prompt with this score goes to a strong model."""
        return score > self.threshold or (self.inclusive and score == self.threshold)

    def record(self) -> dict[str, Any]:
        """Return the state for the decision record."""
        return {
            "target": self.target.share,
            "of": self.target.of,
            "threshold": self.threshold,
            "inclusive": self.inclusive,
            "realised": self.realised,
            "version": self.version,
        }


class Calibrator:
    """The live calibration of one process. Each reaches the target for its own calls.

    Decisions of other replicas count for the quantile, but what the share has missed is each replica's own: if every
    replica made up what all have missed, they would do it several times.
    """

    def __init__(self) -> None:
        self.on_note: Callable[[CostTarget, str, CostSample], None] | None = None  # takes what others should know
        self._others: deque[tuple[CostTarget, str, CostSample]] = deque(maxlen=WINDOW)  # for another key, so far
        self._key: tuple[CostTarget, str] | None = None
        self._current: Calibration | None = None
        self._prior: Sequence[float] = ()
        self._seen: deque[CostSample] = deque(maxlen=WINDOW)
        self._missed = 0.0  # strong calls above the target
        self._usual: float | None = None  # what a call costs at a strong model, for targets of spend
        self._since = 0  # requests since the last change

    def current(self, target: CostTarget, classifier: str, prior: Sequence[float]) -> Calibration:
        """Return the calibration in force; another target or classifier starts a new one from its shipped scores."""
        key = (target, classifier)
        if self._current is None or key != self._key:
            self._key, self._prior = key, prior
            self._seen.clear()
            self._seen.extend(sample for of, by, sample in self._others if (of, by) == key)
            self._missed, self._since, self._usual = 0.0, 0, None
            self._current = self._next(target, 0)
        return self._current

    def note(self, sample: CostSample) -> None:
        """Count a decision."""
        current = self._current
        if current is None or self._key is None:
            return
        if self.on_note is not None:
            self.on_note(*self._key, sample)
        self._seen.append(sample)
        if current.target.of == "spend" and sample.strong_nusd:
            usual = self._usual or sample.strong_nusd
            self._usual = usual + (sample.strong_nusd - usual) / len(self._seen)
        weight = _weight(sample, self._usual)
        missed = self._missed + weight * (_used(current.target, sample) - current.target.share)
        self._missed = max(-_MOST_MISSED, min(_MOST_MISSED, missed))
        self._count(1)

    def follow(self, decisions: Iterable[tuple[CostTarget, str, CostSample]]) -> None:
        """Count decisions of other replicas; those for another target or classifier wait until it is this one's."""
        samples = []
        for target, classifier, sample in decisions:
            if (target, classifier) == self._key:
                samples.append(sample)
            else:
                self._others.append((target, classifier, sample))
        self._seen.extend(samples)
        self._count(len(samples))

    def _count(self, requests: int) -> None:
        current = self._current
        self._since += requests
        if current is not None and self._since >= EVERY:
            self._since = 0
            self._current = self._next(current.target, current.version + 1)

    def _next(self, target: CostTarget, version: int) -> Calibration:
        share = max(0.0, min(1.0, target.share - self._missed / HORIZON))
        self._usual = _usual_cost(target, self._seen)
        weights = [_weight(sample, self._usual) for sample in self._seen]
        threshold, inclusive = _cut(_weighted(target, self._seen, weights, self._prior), share)
        used = [weight * _used(target, sample) for weight, sample in zip(weights, self._seen, strict=True)]
        realised = round(sum(used) / sum(weights), 4) if weights else None
        return Calibration(target, threshold, inclusive, version, realised)


class _Step(NamedTuple):
    """A score, and by how much the realised share grows when prompts with this score go to strong models."""

    score: float
    share: float


def _used(target: CostTarget, sample: CostSample) -> float:
    """Return what a decision used: 1 for a strong model and 0 for a weak one, or its share of a strong one's cost."""
    if target.of == "spend" and sample.nusd is not None and sample.strong_nusd:
        return sample.nusd / sample.strong_nusd
    return 1.0 if sample.strong else 1.0 - _gain(target, sample)


def _usual_cost(target: CostTarget, seen: Sequence[CostSample]) -> float | None:
    """Return what a call costs at a strong model on average; `None` where calls are counted, or no price is known."""
    if target.of == "calls":
        return None
    known = [sample.strong_nusd for sample in seen if sample.strong_nusd]
    return sum(known) / len(known) if known else None


def _weight(sample: CostSample, usual: float | None) -> float:
    """Return how many usual calls a decision counts as: one, or in proportion to its cost at a strong model."""
    return sample.strong_nusd / usual if usual and sample.strong_nusd else 1.0


def _weighted(
    target: CostTarget, seen: Sequence[CostSample], weights: Sequence[float], prior: Sequence[float]
) -> tuple[list[_Step], float]:
    """Return the steps from the highest score down, and the share if no prompt goes to a strong model."""
    each = PRIOR_WEIGHT / max(len(prior), 1)
    total = sum(weights) + each * len(prior)
    gains = [weight * _gain(target, one) for weight, one in zip(weights, seen, strict=True)]
    usual = sum(gains) / sum(weights) if gains else 1.0
    steps = chain(
        (_Step(one.score, gain / total) for one, gain in zip(seen, gains, strict=True)),
        (_Step(score, usual * each / total) for score in prior),
    )
    return sorted(steps, reverse=True), 1.0 - usual


def _gain(target: CostTarget, sample: CostSample) -> float:
    """Return what a strong model costs more, as a share of its cost; 1 where calls are counted."""
    if target.of == "calls" or sample.weak_nusd is None or not sample.strong_nusd:
        return 1.0
    return max(0.0, 1.0 - sample.weak_nusd / sample.strong_nusd)


def _cut(weighted: tuple[list[_Step], float], share: float) -> tuple[float, bool]:
    """Return the threshold at which the share is closest, and whether scores equal to it count."""
    steps, reached = weighted
    at = 0
    while at < len(steps):
        score, group = steps[at].score, 0.0
        while at < len(steps) and steps[at].score == score:
            group += steps[at].share
            at += 1
        if reached + group >= share:
            return score, reached + group - share <= share - reached
        reached += group
    return 0.0, True
