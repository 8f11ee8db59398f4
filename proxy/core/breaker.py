"""The circuit breaker: a pure state machine.

Rule 1: all state changes happen in this file; callers use `admit` and `settle`.
Rule 2: no clock, lock or store in this module. Time is an argument.
Rule 3: every admission is settled exactly once, with `ok=None` if the attempt showed nothing about the upstream (the
client disconnected, the request was invalid): an unsettled probe would block the target permanently.

    closed --(`consecutive` in a row, or `window_failures` within `window`)--> open
    open --(its time is over)--> half-open, which admits at most `half_open` concurrent probes
    half-open --(that many successes)--> closed         half-open --(one failure)--> open, for twice as long

A background probe may be sent shortly before the open time ends: it uses one of the `half_open` admissions, admits no
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
from typing import Literal, NamedTuple

from proxy.core.model import RouteKey
from proxy.core.policies import BreakerPolicy
from proxy.core.saved import SavedBreaker

State = Literal["closed", "half-open", "open"]


class Admission(NamedTuple):
    """The admission of one attempt; `forced`: although the breaker is open."""

    generation: int
    probe: bool = False
    forced: bool = False


class Breaker:
    """The state of one route key."""

    def __init__(self) -> None:
        self.state: State = "closed"
        self.closed_admission: Admission | None = Admission(0)  # `None` unless closed; one object per phase
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
        """Return whether `admit` would grant an admission now; changes nothing."""
        if self.state == "open":
            return now >= self.open_until and (not self._probes or self._has_free_probe(policy))
        return self.state == "closed" or self._has_free_probe(policy)

    def admit(self, policy: BreakerPolicy, now: float, *, force: bool = False) -> Admission | None:
        """Return an admission, or `None` while open or while all probes run. `force` is for the last target left."""
        if self.state == "open" and now >= self.open_until:
            if self._probes:
                self._become("half-open")  # the same phase, with the background probe already running
            else:
                self._enter("half-open")
        if self.closed_admission is not None:
            return self.closed_admission
        if self.state == "half-open" and self._has_free_probe(policy):
            return self._probe()
        if not force or self.state != "open":
            return None
        self.forced_at = now
        return Admission(self._generation, forced=True)

    def early(self, policy: BreakerPolicy, now: float) -> Admission | None:
        """Return an admission for a background probe, also before the open time ends; `None` if there is none."""
        if self.state == "closed":
            return None
        if self.state == "open" and now < self.open_until:
            return self._probe() if self._has_free_probe(policy) else None
        return self.admit(policy, now)

    def current(self, admission: Admission) -> bool:
        """Return whether an admission belongs to this phase; outcomes of earlier phases are ignored."""
        return admission.generation == self._generation

    def settle(
        self,
        admission: Admission,
        policy: BreakerPolicy,
        now: float,
        *,
        ok: bool | None,
        consecutive_only: bool = False,
    ) -> None:
        """Record the outcome of an admitted attempt; an admission of an earlier phase is ignored.

        `consecutive_only`: the failure counts towards `consecutive`, if the previous one was within the window, but not
        towards `window_failures`.
        """
        if not self.current(admission):
            return
        if admission.probe:
            self._probes -= 1
        if ok is None:
            return
        if self.state == "closed":
            self._count(policy, now, ok=ok, consecutive_only=consecutive_only)
        elif ok:
            self._successes += 1
            if self._successes >= policy.half_open:
                self._enter("closed")
                self._closed_at = now
        elif admission.probe:
            self._open(policy, now)

    def export(self, route: RouteKey, shift: float) -> SavedBreaker:
        """Return the state to save, with times later by `shift`; running probes are left out."""
        return SavedBreaker(
            provider=route.provider,
            model=route.model,
            key=route.key_id,
            state="closed" if self.state == "closed" else "open",
            open_until=round(self.open_until + shift, 2),
            openings=self.openings,
            reason=self.reason,
            consecutive=self.consecutive,
            failures=[round(at + shift, 2) for at in self._failures],
            closed_at=None if self._closed_at is None else round(self._closed_at + shift, 2),
        )

    @classmethod
    def restored(cls, saved: SavedBreaker, shift: float, policy: BreakerPolicy, now: float) -> Breaker:
        """Return the breaker that `export` described, with times earlier by `shift` and cut to the possible maximum."""
        breaker = cls()
        breaker._become(saved.state)
        breaker.openings = saved.openings
        breaker.open_until = min(saved.open_until - shift, now + breaker.open_seconds(policy))
        breaker.reason = saved.reason[:64]
        breaker.consecutive = min(saved.consecutive, policy.consecutive - 1)
        failures = [min(at - shift, now) for at in saved.failures]
        breaker._failures = deque(sorted(failures)[-policy.window_failures :])
        breaker._closed_at = None if saved.closed_at is None else min(saved.closed_at - shift, now)
        return breaker

    def follow(self, seconds: float, openings: int, now: float) -> bool:
        """Take over what another process has found: open for `seconds`, or with 0 closed; return whether it is news."""
        if seconds > 0:
            if self.state == "open" and self.open_until >= now + seconds:
                return False
            self.open_until = now + seconds
            self._enter("open")
        else:
            if self.state == "closed":
                return False
            self._enter("closed")
            self._closed_at = now
        self.openings = openings
        return True

    def reset(self) -> None:
        """Close the breaker and clear its state."""
        self.openings = 0
        self._closed_at = None
        self.reason = ""
        self._enter("closed")

    def open_seconds(self, policy: BreakerPolicy) -> float:
        """Return the whole open time of the newest opening; it doubles with each."""
        return min(policy.open * 2.0 ** min(max(self.openings - 1, 0), 32), policy.max_open)

    def failures(self, policy: BreakerPolicy, now: float) -> int:
        """Return the number of failures within the window."""
        self._prune(policy, now)
        return len(self._failures)

    def _has_free_probe(self, policy: BreakerPolicy) -> bool:
        return self._probes + self._successes < policy.half_open

    def _probe(self) -> Admission:
        self._probes += 1
        return Admission(self._generation, probe=True)

    def _count(self, policy: BreakerPolicy, now: float, *, ok: bool, consecutive_only: bool) -> None:
        if ok:
            self.consecutive = 0
            return
        if consecutive_only and now - self._newest > policy.window:
            self.consecutive = 0
        self.consecutive += 1
        self._newest = now
        if not consecutive_only:
            self._failures.append(now)
        if self.consecutive >= policy.consecutive or self.failures(policy, now) >= policy.window_failures:
            self._open(policy, now)

    def _open(self, policy: BreakerPolicy, now: float) -> None:
        if self._closed_at is not None and now - self._closed_at >= policy.window:
            self.openings = 0
        self.openings += 1
        self.open_until = now + self.open_seconds(policy)
        self._enter("open")

    def _enter(self, state: State) -> None:
        self._generation += 1
        self._become(state)
        self._probes = self._successes = self.consecutive = 0
        self._failures.clear()

    def _become(self, state: State) -> None:
        self.state = state
        self.closed_admission = Admission(self._generation) if state == "closed" else None

    def _prune(self, policy: BreakerPolicy, now: float) -> None:
        while self._failures and now - self._failures[0] > policy.window:
            self._failures.popleft()
