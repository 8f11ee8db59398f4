"""The circuit breaker as a state machine: whatever happens in whatever order, its promises hold."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.core.breaker import Admission, Breaker
from proxy.core.policies import BreakerPolicy

POLICIES = st.builds(
    BreakerPolicy,
    consecutive=st.integers(1, 4),
    window=st.sampled_from([5.0, 50.0]),
    window_failures=st.integers(1, 6),
    open=st.sampled_from([1.0, 10.0]),
    max_open=st.sampled_from([10.0, 25.0]),
    half_open=st.integers(1, 3),
)


class BreakerMachine(RuleBasedStateMachine):
    """Calls that begin, end well, badly or not at all, and time that goes by."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker()
        self.now = 100.0
        self.out: list[Admission] = []
        self.opened_at: float | None = None
        self.seen: tuple[str, float] = ("closed", 0.0)

    @initialize(policy=POLICIES)
    def configure(self, policy: BreakerPolicy) -> None:
        self.policy = policy

    @property
    def probes(self) -> list[Admission]:
        """Probes of this half-open phase that are out."""
        newest = max((permit.generation for permit in self.out), default=-1)
        return [permit for permit in self.out if permit.probe and permit.generation == newest]

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 10.0, 60.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.now += seconds
        self.is_unchanged()

    @precondition(lambda self: self.breaker.state == "open")
    @rule()
    def its_time_is_over(self) -> None:
        just_before = self.breaker.open_until - 1e-6
        if just_before > self.now:
            assert not self.breaker.ready(self.policy, just_before)
            assert self.breaker.admit(self.policy, just_before) is None
        self.now = max(self.now, self.breaker.open_until)
        assert self.breaker.ready(self.policy, self.now) or self.probes

    @rule(force=st.booleans())
    def call_begins(self, force: bool) -> None:
        state, ready = self.breaker.state, self.breaker.ready(self.policy, self.now)
        over = self.now >= self.breaker.open_until

        permit = self.breaker.admit(self.policy, self.now, force=force)

        forced = force and state == "open" and not over  # half-open, the probes decide
        assert (permit is not None) is (ready or forced)
        if permit is not None:
            self.out.append(permit)
            assert permit.forced is not ready
            assert permit.probe is (ready and state != "closed")
        if state == "open":
            assert self.breaker.state == ("half-open" if over else "open")  # asked in time, whoever gets the permit
        else:
            assert self.breaker.state == state
        self.remember()

    @rule()
    def background_probe_begins(self) -> None:
        state, over = self.breaker.state, self.now >= self.breaker.open_until

        permit = self.breaker.early(self.policy, self.now)

        if permit is not None:
            self.out.append(permit)
            assert permit.probe
            assert state != "closed"
        assert self.breaker.state == ("half-open" if state == "open" and over else state)
        self.remember()

    @precondition(lambda self: self.out)
    @rule(data=st.data(), ok=st.sampled_from([True, False, None]))
    def call_ends(self, data: st.DataObject, ok: bool | None) -> None:
        permit = data.draw(st.sampled_from(self.out))
        self.out.remove(permit)
        before, state = self.breaker.openings, self.breaker.state

        self.breaker.settle(permit, self.policy, self.now, ok=ok)

        if self.breaker.state == "open" and state != "open":
            assert ok is False
            assert state == "closed" or permit.probe
            self.has_opened(before)
        if self.breaker.state == "closed" and state != "closed":
            assert ok is True
        if ok is None:
            assert self.breaker.state == state
        self.remember()

    @rule()
    def an_operator_resets_it(self) -> None:
        self.breaker.reset()

        assert self.breaker.is_new
        assert self.breaker.ready(self.policy, self.now)
        self.remember()

    @invariant()
    def no_more_probes_are_out_than_configured(self) -> None:
        if self.breaker.state != "closed":
            assert len(self.probes) <= self.policy.half_open

    @invariant()
    def a_half_open_breaker_with_no_probe_out_admits_one(self) -> None:
        if self.breaker.state == "half-open" and not self.probes:
            assert self.breaker.ready(self.policy, self.now)

    @invariant()
    def an_open_breaker_opens_again_in_time(self) -> None:
        if self.breaker.state == "open":
            assert self.breaker.open_until <= self.now + self.policy.max_open

    def has_opened(self, before: int) -> None:
        """The open time is the policy's, doubled with each opening in a row, and no longer than the longest."""
        row = self.breaker.openings
        assert row in (1, before + 1)
        expected = min(self.policy.open * 2 ** (row - 1), self.policy.max_open)
        assert self.breaker.open_until == self.now + expected

    def remember(self) -> None:
        self.seen = (self.breaker.state, self.breaker.open_until)

    def is_unchanged(self) -> None:
        """Only `admit`, `settle` and `reset` change the state."""
        assert self.seen[0] == self.breaker.state
        assert self.breaker.failures(self.policy, self.now) >= 0


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
