"""What a store has learned, for replay: each call is decided by the version that served then, or would have.

A version that is not kept any more is replaced by the oldest one that is.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from proxy.replay.recorded import Recorded
from proxy.routing.learned import LearnedPredictor, decode
from proxy.routing.predict import PRIOR, Predictor


class Version(NamedTuple):
    """A version of what was learned, as the store keeps it."""

    number: int
    created_at: int  # microseconds since 1970
    state: bytes


class Predictors:
    """The predictors of recorded calls."""

    def __init__(self, versions: Sequence[Version], serving: Sequence[int]) -> None:
        """`serving`: the numbers of the versions that a reset or a rollback has not taken out of use."""
        self._kept = {version.number: version for version in versions}
        self._serving = sorted(
            [(each.created_at, each.number) for each in versions if each.number in serving],
        )
        self._read: dict[int, Predictor] = {}

    def of(self, call: Recorded) -> Predictor:
        """Return the predictor of a call."""
        number = self._number(call)
        if number is None:
            return PRIOR
        if number not in self._read:
            self._read[number] = LearnedPredictor(decode(self._kept[number].state))
        return self._read[number]

    def _number(self, call: Recorded) -> int | None:
        kind, _, number = str(call.ranking.get("predictor")).partition(" ")
        served = int(number) if kind == "learned" and number.isdecimal() else None
        if served in self._kept:
            return served
        before = bisect_right(self._serving, (call.row.time, 0))
        if before:
            return self._serving[before - 1][1]
        return min(self._kept) if served is not None and self._kept else None
