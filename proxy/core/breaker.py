"""The circuit breaker: a pure state machine.

Rule 1: all state changes happen in this file; callers use `admit` and `settle`.
Rule 2: no clock, lock or store in this module. Time is an argument.
Rule 3: every permit is settled exactly once, with `ok=None` if the attempt showed nothing about the upstream (the
client disconnected, the request was invalid): an unsettled probe would block the target permanently.

    closed --(`consecutive` in a row, or `window_failures` within `window`)--> open
    open --(its time is over)--> half-open, which admits at most `half_open` concurrent probes
    half-open --(that many successes)--> closed         half-open --(one failure)--> open, for twice as long

A background probe may be sent shortly before the open time ends: it uses one of the `half_open` permits, admits no
other attempt before that time, and its outcome changes the state like that of any probe.

While the breaker is open, the last target left may be forced, and a success closes it; while it is half-open, only the
probes decide.

The open time doubles with each opening up to `max_open`, and is reset only after the breaker has stayed closed for a
whole `window`: a flapping target stays open longer each time.

The proxy's own limits, client errors and client disconnects are never recorded.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from proxy.core.policies import BreakerPolicy
from proxy.core.saved import saved_count, saved_seconds

State = Literal["closed", "half-open", "open"]


class Permit(NamedTuple):
    """The permission for one attempt; `forced`: granted although the breaker is open."""

    generation: int
    probe: bool = False
    forced: bool = False


class Breaker:
    """The state of one route key."""

    def __init__(self) -> None:
        self.state: State = "closed"
        self.passing: Permit | None = Permit(0)  # what `admit` returns while closed, one object for each such phase
        self.open_until = 0.0
        self.openings = 0  # consecutive openings, without a quiet window between them
        self.reason = ""  # the kind of the newest failure
        self.forced_at = -math.inf  # when an attempt was last forced
        self._generation = 0
        self.consecutive = 0  # failures since the newest success
        self._newest = -math.inf  # when the newest failure was counted
        self._failures: deque[float] = deque()
        self._probes = 0  # running probes
        self._successes = 0  # in this half-open phase
        self._closed_at: float | None = None

    @property
    def is_new(self) -> bool:
        """Whether the breaker has no state worth keeping."""
        return self.state == "closed" and not self._failures and not self.consecutive and not self.openings

    @property
    def probing(self) -> bool:
        """Whether a probe is running whose outcome changes the state."""
        return self.state == "half-open" and self._probes > 0

    def ready(self, policy: BreakerPolicy, now: float) -> bool:
        """Return whether `admit` would grant a permit now; changes nothing."""
        if self.state == "open":
            return now >= self.open_until and (not self._probes or self._room(policy))
        return self.state == "closed" or self._room(policy)

    def admit(self, policy: BreakerPolicy, now: float, *, force: bool = False) -> Permit | None:
        """Return a permit, or `None` while open or while all probes run. `force` is for the last target left."""
        if self.state == "open" and now >= self.open_until:
            if self._probes:
                self._become("half-open")  # the same phase, with the background probe already running
            else:
                self._enter("half-open")
        if self.passing is not None:
            return self.passing
        if self.state == "half-open" and self._room(policy):
            return self._probe()
        if not force or self.state != "open":
            return None
        self.forced_at = now
        return Permit(self._generation, forced=True)

    def early(self, policy: BreakerPolicy, now: float) -> Permit | None:
        """Return a permit for a background probe, also before the open time ends; `None` if there is none."""
        if self.state == "closed":
            return None
        if self.state == "open" and now < self.open_until:
            return self._probe() if self._room(policy) else None
        return self.admit(policy, now)

    def current(self, permit: Permit) -> bool:
        """Return whether a permit belongs to this phase; outcomes of earlier phases are ignored."""
        return permit.generation == self._generation

    def settle(
        self, permit: Permit, policy: BreakerPolicy, now: float, *, ok: bool | None, row_only: bool = False
    ) -> None:
        """Return a permit with the outcome of its attempt; a permit of an earlier phase is ignored.

        `row_only`: the failure counts towards `consecutive`, if the previous one was within the window, but not towards
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
        """Return the state as JSON values, with times later by `shift`; running probes are left out."""
        return {
            "state": "closed" if self.state == "closed" else "open",
            "open_until": round(self.open_until + shift, 2),
            "openings": self.openings,
            "reason": self.reason,
            "consecutive": self.consecutive,
            "failures": [round(at + shift, 2) for at in self._failures],
            "closed_at": None if self._closed_at is None else round(self._closed_at + shift, 2),
        }

    @classmethod
    def restored(cls, values: Mapping[str, Any], shift: float, policy: BreakerPolicy, now: float) -> Breaker:
        """Return the breaker that `export` described, with times earlier by `shift` and cut to the possible maximum.

        Raises `ValueError`, `TypeError` or `KeyError` if `export` cannot have returned `values`.
        """
        breaker = cls()
        if values["state"] not in ("open", "closed"):
            raise ValueError("the state of a breaker must be `open` or `closed`")
        breaker._become(values["state"])
        breaker.openings = saved_count(values["openings"])
        longest = min(policy.open * 2 ** min(max(breaker.openings - 1, 0), 32), policy.max_open)
        breaker.open_until = min(saved_seconds(values["open_until"]) - shift, now + longest)
        breaker.reason = str(values["reason"])[:64]
        breaker.consecutive = min(saved_count(values["consecutive"]), policy.consecutive - 1)
        failures = [min(saved_seconds(at) - shift, now) for at in values["failures"]]
        breaker._failures = deque(sorted(failures)[-policy.window_failures :])
        closed_at = values["closed_at"]
        breaker._closed_at = None if closed_at is None else min(saved_seconds(closed_at) - shift, now)
        return breaker

    def reset(self) -> None:
        """Close the breaker and clear its state."""
        self.openings = 0
        self._closed_at = None
        self.reason = ""
        self._enter("closed")

    def failures(self, policy: BreakerPolicy, now: float) -> int:
        """Return the number of failures within the window."""
        self._prune(policy, now)
        return len(self._failures)

    def _room(self, policy: BreakerPolicy) -> bool:
        return self._probes + self._successes < policy.half_open

    def _probe(self) -> Permit:
        self._probes += 1
        return Permit(self._generation, probe=True)

    def _count(self, policy: BreakerPolicy, now: float, *, ok: bool, row_only: bool) -> None:
        if ok:
            self.consecutive = 0
            return
        if row_only and now - self._newest > policy.window:
            self.consecutive = 0
        self.consecutive += 1
        self._newest = now
        if not row_only:
            self._failures.append(now)
        if self.consecutive >= policy.consecutive or self.failures(policy, now) >= policy.window_failures:
            self._open(policy, now)

    def _open(self, policy: BreakerPolicy, now: float) -> None:
        if self._closed_at is not None and now - self._closed_at >= policy.window:
            self.openings = 0
        self.openings += 1
        self.open_until = now + min(policy.open * 2 ** min(self.openings - 1, 32), policy.max_open)
        self._enter("open")

    def _enter(self, state: State) -> None:
        self._generation += 1
        self._become(state)
        self._probes = self._successes = self.consecutive = 0
        self._failures.clear()

    def _become(self, state: State) -> None:
        self.state = state
        self.passing = Permit(self._generation) if state == "closed" else None

    def _prune(self, policy: BreakerPolicy, now: float) -> None:
        while self._failures and now - self._failures[0] > policy.window:
            self._failures.popleft()
