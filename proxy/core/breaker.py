"""Circuit breaker: the state machine, and nothing else.

Rule 1: every change of state is in this file; callers ask `admit` and tell `settle`.
Rule 2: no clock, no lock, no store in here. Time comes in as an argument.
Rule 3: every permit is settled exactly once, with `ok=None` when the attempt said nothing about the upstream (the
client left, the request was bad): a probe that is not given back would close the target for ever.

    closed --(`consecutive` in a row, or `window_failures` within `window`)--> open
    open --(its time is over)--> half-open, which admits `half_open` probes at once and no more
    half-open --(that many successes)--> closed         half-open --(one failure)--> open, for twice as long

A background probe may go out shortly before the open time is over: it is one of the `half_open` permits, admits nobody
else before that time, and what it shows moves the breaker as any probe does.

While it is open, the last target left may be forced, and a success closes it; while it is half-open, the probes decide.

The open time doubles with each opening up to `max_open`, and is forgotten only after the breaker has stayed closed for
a whole `window`: a target that flaps rests longer each time.

Our own limits, client errors and client disconnects are never recorded.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from proxy.core.policies import BreakerPolicy
from proxy.core.saved import saved_count, saved_seconds

State = Literal["closed", "half-open", "open"]


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave for one attempt; `forced` was given although the breaker is open."""

    generation: int
    probe: bool = False
    forced: bool = False


class Breaker:
    """The state of one (provider, model, key)."""

    def __init__(self) -> None:
        self.state: State = "closed"
        self.open_until = 0.0
        self.openings = 0  # in a row, without a quiet window between them
        self.reason = ""  # what the newest failure was
        self.forced_at = -math.inf  # when it was last passed by
        self._generation = 0
        self._consecutive = 0
        self._newest = -math.inf  # when the newest failure was counted
        self._failures: deque[float] = deque()
        self._probes = 0  # out, not yet settled
        self._successes = 0  # of this half-open phase
        self._closed_at: float | None = None

    @property
    def is_new(self) -> bool:
        """Nothing is worth remembering here."""
        return self.state == "closed" and not self._failures and not self._consecutive and not self.openings

    @property
    def probing(self) -> bool:
        """A probe is out whose outcome decides."""
        return self.state == "half-open" and self._probes > 0

    def ready(self, policy: BreakerPolicy, now: float) -> bool:
        """Whether `admit` would give a permit now; changes nothing."""
        if self.state == "open":
            return now >= self.open_until and (not self._probes or self._room(policy))
        return self.state == "closed" or self._room(policy)

    def admit(self, policy: BreakerPolicy, now: float, *, force: bool = False) -> Permit | None:
        """A permit, or None while open or while all probes are out. `force` is for the last target left."""
        if self.state == "open" and now >= self.open_until:
            if self._probes:
                self.state = "half-open"  # the same phase, in which a background probe is out already
            else:
                self._enter("half-open")
        if self.state == "closed":
            return Permit(self._generation)
        if self.state == "half-open" and self._room(policy):
            return self._probe()
        if not force or self.state != "open":
            return None
        self.forced_at = now
        return Permit(self._generation, forced=True)

    def early(self, policy: BreakerPolicy, now: float) -> Permit | None:
        """A background probe's permit, before the open time is over or after it; None where there is none to be had."""
        if self.state == "closed":
            return None
        if self.state == "open" and now < self.open_until:
            return self._probe() if self._room(policy) else None
        return self.admit(policy, now)

    def current(self, permit: Permit) -> bool:
        """Whether a permit is of this phase: what one of an earlier phase shows was known without it."""
        return permit.generation == self._generation

    def settle(
        self, permit: Permit, policy: BreakerPolicy, now: float, *, ok: bool | None, row_only: bool = False
    ) -> None:
        """Give a permit back with what the attempt showed; one of an earlier phase is ignored.

        `row_only`: the failure counts towards `consecutive`, if the one before was within the window, and not towards
        `window_failures`.
        """
        if not self.current(permit):
            return
        if permit.probe:
            self._probes -= 1
        if ok is None:
            return
        if self.state == "closed":
            self._count(policy, now, ok=ok, row_only=row_only)
        elif ok:
            self._successes += 1
            if self._successes >= policy.half_open:
                self._enter("closed")
                self._closed_at = now
        elif permit.probe:
            self._open(policy, now)

    def export(self, shift: float) -> dict[str, Any]:
        """The state as JSON values, with times later by `shift`; a probe that is out is not part of it."""
        return {
            "state": "closed" if self.state == "closed" else "open",
            "open_until": round(self.open_until + shift, 2),
            "openings": self.openings,
            "reason": self.reason,
            "consecutive": self._consecutive,
            "failures": [round(at + shift, 2) for at in self._failures],
            "closed_at": None if self._closed_at is None else round(self._closed_at + shift, 2),
        }

    @classmethod
    def restored(cls, values: Mapping[str, Any], shift: float, policy: BreakerPolicy, now: float) -> Breaker:
        """The breaker that `export` told of, by a clock that is `shift` earlier; no time lies further than it could.

        Raises `ValueError`, `TypeError` or `KeyError` for what `export` never says.
        """
        breaker = cls()
        if values["state"] not in ("open", "closed"):
            raise ValueError("a breaker is open or closed")
        breaker.state = values["state"]
        breaker.openings = saved_count(values["openings"])
        longest = min(policy.open * 2 ** min(max(breaker.openings - 1, 0), 32), policy.max_open)
        breaker.open_until = min(saved_seconds(values["open_until"]) - shift, now + longest)
        breaker.reason = str(values["reason"])[:64]
        breaker._consecutive = min(saved_count(values["consecutive"]), policy.consecutive - 1)
        failures = [min(saved_seconds(at) - shift, now) for at in values["failures"]]
        breaker._failures = deque(sorted(failures)[-policy.window_failures :])
        closed_at = values["closed_at"]
        breaker._closed_at = None if closed_at is None else min(saved_seconds(closed_at) - shift, now)
        return breaker

    def reset(self) -> None:
        """Forget everything, as an operator asks."""
        self.openings = 0
        self._closed_at = None
        self.reason = ""
        self._enter("closed")

    def failures(self, policy: BreakerPolicy, now: float) -> int:
        """Failures within the window."""
        self._prune(policy, now)
        return len(self._failures)

    def _room(self, policy: BreakerPolicy) -> bool:
        return self._probes + self._successes < policy.half_open

    def _probe(self) -> Permit:
        self._probes += 1
        return Permit(self._generation, probe=True)

    def _count(self, policy: BreakerPolicy, now: float, *, ok: bool, row_only: bool) -> None:
        if ok:
            self._consecutive = 0
            return
        if row_only and now - self._newest > policy.window:
            self._consecutive = 0
        self._consecutive += 1
        self._newest = now
        if not row_only:
            self._failures.append(now)
        if self._consecutive >= policy.consecutive or self.failures(policy, now) >= policy.window_failures:
            self._open(policy, now)

    def _open(self, policy: BreakerPolicy, now: float) -> None:
        if self._closed_at is not None and now - self._closed_at >= policy.window:
            self.openings = 0
        self.openings += 1
        self.open_until = now + min(policy.open * 2 ** min(self.openings - 1, 32), policy.max_open)
        self._enter("open")

    def _enter(self, state: State) -> None:
        self.state = state
        self._generation += 1
        self._probes = self._successes = self._consecutive = 0
        self._failures.clear()

    def _prune(self, policy: BreakerPolicy, now: float) -> None:
        while self._failures and now - self._failures[0] > policy.window:
            self._failures.popleft()
