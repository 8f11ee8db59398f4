"""The circuit breaker, one transition at a time."""

from __future__ import annotations

import pytest

from proxy.core.breaker import Admission, Breaker
from proxy.core.model import RouteKey
from proxy.core.policies import BreakerPolicy

ROUTE = RouteKey("acme", "small", "main")
POLICY = BreakerPolicy(consecutive=3, window=600, window_failures=5, open=60, max_open=200, half_open=1)


def told(breaker: Breaker, now: float, ok: bool | None, policy: BreakerPolicy = POLICY) -> None:
    permit = breaker.admit(policy, now)
    assert permit
    breaker.settle(permit, policy, now, ok=ok)


def opened(at: float = 0.0, policy: BreakerPolicy = POLICY) -> Breaker:
    breaker = Breaker()
    for _ in range(policy.consecutive):
        told(breaker, at, False, policy)
    return breaker


def probe(breaker: Breaker, now: float, policy: BreakerPolicy = POLICY) -> Admission:
    permit = breaker.admit(policy, now)
    assert permit
    assert permit.probe
    return permit


def test_consecutive_failures_open_it() -> None:
    breaker = Breaker()

    told(breaker, 0, False)
    told(breaker, 1, False)
    assert breaker.state == "closed"
    told(breaker, 2, False)

    assert breaker.state == "open"
    assert breaker.open_until == 62


def test_a_success_ends_the_row() -> None:
    breaker = Breaker()

    for ok in (False, False, True, False, False):
        told(breaker, 0, ok)

    assert breaker.state == "closed"


def test_failures_in_the_window_open_it_despite_successes() -> None:
    breaker = Breaker()

    for now in range(4):
        told(breaker, now, False)
        told(breaker, now, True)
    assert breaker.state == "closed"
    told(breaker, 4, False)

    assert breaker.state == "open"


def test_failures_older_than_the_window_do_not_count() -> None:
    breaker = Breaker()
    for now in range(4):
        told(breaker, now, False)
        told(breaker, now, True)

    told(breaker, 601, False)

    assert breaker.failures(POLICY, 601) == 4
    assert breaker.state == "closed"


def test_what_says_nothing_counts_neither_way() -> None:
    breaker = Breaker()

    for ok in (False, False, None, None):
        told(breaker, 0, ok)
    assert breaker.state == "closed"
    told(breaker, 0, False)

    assert breaker.state == "open"


def test_it_stays_open_until_exactly_its_time() -> None:
    breaker = opened()

    assert not breaker.ready(POLICY, 59.999)
    assert breaker.admit(POLICY, 59.999) is None
    assert breaker.ready(POLICY, 60)
    assert breaker.state == "open"  # asking changes nothing
    assert probe(breaker, 60)
    assert breaker.state == "half-open"


def test_half_open_admits_exactly_one_probe() -> None:
    breaker = opened()

    permit = probe(breaker, 60)

    assert breaker.admit(POLICY, 60) is None
    assert not breaker.ready(POLICY, 60)
    breaker.settle(permit, POLICY, 61, ok=True)
    assert breaker.state == "closed"


def test_half_open_admits_the_configured_probes_and_no_more() -> None:
    policy = BreakerPolicy(consecutive=1, open=60, half_open=3)
    breaker = opened(policy=policy)
    permits = [probe(breaker, 60, policy) for _ in range(3)]
    assert breaker.admit(policy, 60) is None

    breaker.settle(permits[0], policy, 61, ok=True)
    assert breaker.admit(policy, 61) is None  # three in all, not three at once
    breaker.settle(permits[1], policy, 61, ok=True)
    assert breaker.state == "half-open"
    breaker.settle(permits[2], policy, 61, ok=True)

    assert breaker.state == "closed"


def test_a_probe_that_said_nothing_is_given_back() -> None:
    breaker = opened()

    breaker.settle(probe(breaker, 60), POLICY, 61, ok=None)

    assert breaker.state == "half-open"
    assert probe(breaker, 61)


def test_a_failed_probe_doubles_the_open_time_up_to_the_limit() -> None:
    breaker = opened()
    now = 60.0
    lasted = []

    for _ in range(4):
        breaker.settle(probe(breaker, now), POLICY, now, ok=False)
        lasted.append(breaker.open_until - now)
        now = breaker.open_until

    assert lasted == [120, 200, 200, 200]


def test_a_target_that_flaps_rests_longer_each_time() -> None:
    breaker = opened()
    breaker.settle(probe(breaker, 60), POLICY, 60, ok=True)

    for _ in range(3):
        told(breaker, 100, False)

    assert breaker.open_until == 100 + 120


def test_the_doubling_is_forgotten_after_a_quiet_window() -> None:
    breaker = opened()
    breaker.settle(probe(breaker, 60), POLICY, 60, ok=True)

    for _ in range(3):
        told(breaker, 660, False)

    assert breaker.open_until == 660 + 60


def test_a_permit_of_an_earlier_phase_is_ignored() -> None:
    breaker = Breaker()
    late = breaker.admit(POLICY, 0)
    assert late
    for _ in range(3):
        told(breaker, 0, False)
    current = probe(breaker, 60)

    breaker.settle(late, POLICY, 60, ok=True)
    assert breaker.state == "half-open"
    breaker.settle(late, POLICY, 60, ok=False)
    assert breaker.state == "half-open"

    breaker.settle(current, POLICY, 60, ok=True)
    assert breaker.state == "closed"


def test_force_admits_while_open_and_a_success_closes_it() -> None:
    breaker = opened()

    permit = breaker.admit(POLICY, 1, force=True)

    assert permit
    assert permit.forced
    breaker.settle(permit, POLICY, 2, ok=True)
    assert breaker.state == "closed"


def test_a_forced_failure_does_not_lengthen_the_rest() -> None:
    breaker = opened()
    permit = breaker.admit(POLICY, 1, force=True)
    assert permit

    breaker.settle(permit, POLICY, 2, ok=False)

    assert breaker.state == "open"
    assert breaker.open_until == 60


def test_force_takes_the_probe_where_there_is_one() -> None:
    breaker = opened()

    permit = breaker.admit(POLICY, 60, force=True)

    assert permit
    assert permit.probe
    assert not permit.forced


def test_the_longer_open_time_of_two_processes_applies() -> None:
    breaker = opened()

    assert not breaker.follow(30, openings=4, now=0)
    assert (breaker.open_until, breaker.openings) == (60, 1)
    assert breaker.follow(90, openings=2, now=0)
    assert (breaker.open_until, breaker.openings) == (90, 2)


def test_an_outcome_from_before_another_process_opened_it_is_ignored() -> None:
    breaker = Breaker()
    admission = breaker.admit(POLICY, 0)
    assert admission

    breaker.follow(60, openings=1, now=1)
    breaker.settle(admission, POLICY, 2, ok=True)

    assert breaker.state == "open"


def test_a_breaker_that_another_process_closed_keeps_its_openings() -> None:
    breaker = opened()

    assert breaker.follow(0, openings=2, now=5)
    assert not breaker.follow(0, openings=9, now=6)

    assert (breaker.state, breaker.openings) == ("closed", 2)


def test_reset_forgets_everything() -> None:
    breaker = opened()

    breaker.reset()

    assert breaker.is_new
    assert breaker.admit(POLICY, 1)


@pytest.mark.parametrize(("ok", "new"), [(True, True), (None, True), (False, False)])
def test_only_failures_are_worth_remembering(ok: bool | None, new: bool) -> None:
    breaker = Breaker()

    told(breaker, 0, ok)

    assert breaker.is_new is new


def early(breaker: Breaker, now: float, policy: BreakerPolicy = POLICY) -> Admission:
    permit = breaker.early(policy, now)
    assert permit
    assert permit.probe
    return permit


def test_an_early_probe_admits_no_other_call() -> None:
    breaker = opened()

    permit = early(breaker, 55)

    assert breaker.state == "open"
    assert breaker.early(POLICY, 55) is None
    assert breaker.admit(POLICY, 59) is None
    breaker.settle(permit, POLICY, 56, ok=True)
    assert breaker.state == "closed"


def test_an_early_probe_counts_among_the_half_open_permits() -> None:
    policy = BreakerPolicy(consecutive=1, open=60, half_open=2)
    breaker = opened(policy=policy)
    first = early(breaker, 55, policy)

    second = probe(breaker, 60, policy)

    assert breaker.admit(policy, 60) is None
    breaker.settle(first, policy, 61, ok=True)
    breaker.settle(second, policy, 61, ok=True)
    assert breaker.state == "closed"


def test_half_open_admits_no_call_while_all_permits_are_out() -> None:
    breaker = opened()
    permit = early(breaker, 55)

    assert not breaker.ready(POLICY, 60)
    assert breaker.admit(POLICY, 60) is None
    breaker.settle(permit, POLICY, 61, ok=None)

    assert probe(breaker, 61)


def test_a_failed_background_probe_opens_it_for_twice_as_long() -> None:
    breaker = opened()

    breaker.settle(early(breaker, 55), POLICY, 56, ok=False)

    assert (breaker.open_until, breaker.openings) == (176, 2)


def test_a_late_background_probe_is_an_ordinary_one() -> None:
    breaker = opened()

    breaker.settle(early(breaker, 70), POLICY, 70, ok=True)

    assert breaker.state == "closed"
    assert breaker.early(POLICY, 70) is None


def test_what_is_exported_and_restored_goes_on_as_before() -> None:
    breaker = opened()
    breaker.reason = "server_error"

    again = Breaker.restored(breaker.export(ROUTE, 500.0), 490.0, POLICY, 10.0)

    assert again.export(ROUTE, 490.0) == breaker.export(ROUTE, 500.0)
    assert again.open_until == 70
    assert again.admit(POLICY, 69.9) is None
    assert probe(again, 70)


def test_a_restart_keeps_failures_and_drops_probes() -> None:
    breaker = Breaker()
    told(breaker, 5, False)
    told(breaker, 6, False)
    half_open = opened()
    probe(half_open, 60)

    again = Breaker.restored(breaker.export(ROUTE, 0.0), 0.0, POLICY, 10.0)
    told(again, 10, False)

    assert again.state == "open"
    assert Breaker.restored(half_open.export(ROUTE, 0.0), 0.0, POLICY, 61.0).ready(POLICY, 61)


def in_a_row(breaker: Breaker, now: float, policy: BreakerPolicy = POLICY) -> None:
    permit = breaker.admit(policy, now)
    assert permit is not None
    breaker.settle(permit, policy, now, ok=False, consecutive_only=True)


def test_failures_that_count_in_a_row_only_open_it_in_a_row() -> None:
    breaker = Breaker()

    for now in range(POLICY.consecutive):
        assert breaker.state == "closed"
        assert breaker.is_new is (now == 0)
        in_a_row(breaker, float(now))

    assert breaker.state == "open"


def test_a_success_resets_failures_that_count_only_in_a_row() -> None:
    breaker = Breaker()

    for now in range(2 * POLICY.window_failures):
        in_a_row(breaker, float(now))
        told(breaker, float(now), ok=True)

    assert breaker.is_new


def test_a_row_that_counts_alone_ends_with_the_window() -> None:
    breaker = Breaker()

    for number in range(2 * POLICY.consecutive):
        in_a_row(breaker, number * (POLICY.window + 1))

    assert breaker.state == "closed"
