"""Health in other forms: what is troubled, and what is written down."""

from __future__ import annotations

import pytest

from proxy.core.breaker import Breaker
from proxy.core.policies import BreakerPolicy
from proxy.upstream.health_views import Due, Rest, exported, restored_breakers, restored_rests, troubles

POLICY = BreakerPolicy(consecutive=1, open=60, max_open=100)


def opened(times: int = 1) -> Breaker:
    breaker, now = Breaker(), 0.0
    for _ in range(times):
        permit = breaker.admit(POLICY, now)
        assert permit
        breaker.settle(permit, POLICY, now, ok=False)
        now = breaker.open_until
    return breaker


def test_troubles_are_rests_that_last_and_breakers_that_are_not_closed() -> None:
    rests = {("acme", "main", None): Rest(50.0, "key_rejected", 1, 60.0), ("acme", "old", "a"): Rest(9.0, "x")}
    breakers = {("acme", "a", "main"): opened(), ("acme", "b", "main"): opened(2), ("acme", "c", "main"): Breaker()}

    assert troubles(breakers, rests, lambda reason: POLICY, 10.0) == [
        Due("acme", "main", None, True, "key_rejected", 50.0, 60.0),
        Due("acme", "main", "a", False, "", 60.0, 60.0),
        Due("acme", "main", "b", False, "", 160.0, 100.0),
    ]


def test_what_is_exported_can_be_restored_by_another_clock() -> None:
    rests = {("acme", "main", None): Rest(50.0, "key_rejected", 3, 60.0), ("acme", "b", "a"): Rest(9.0, "rate_limited")}
    breakers = {("acme", "a/b", "main"): opened(2)}

    values = exported(breakers, rests, 1000.0)
    found = restored_breakers(values["breakers"], 990.0, lambda reason: POLICY, 70.0)
    rest = restored_rests(values["rests"], 990.0, 70.0)

    assert {name: breaker.open_until for name, breaker in found.items()} == {("acme", "a/b", "main"): 170.0}
    assert rest[("acme", "main", None)] == Rest(60.0, "key_rejected", 3, 60.0)
    assert exported(found, rest, 990.0) == values


@pytest.mark.parametrize("missing", ["provider", "key", "model", "until", "reason", "times", "seconds"])
def test_a_row_that_lacks_something_is_refused(missing: str) -> None:
    [row] = exported({}, {("acme", "main", None): Rest(50.0, "key_rejected")}, 0.0)["rests"]
    del row[missing]

    with pytest.raises(KeyError):
        restored_rests([row], 0.0, 0.0)
