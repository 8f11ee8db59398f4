"""Breakers by route key: which are listed, saved and restored."""

from __future__ import annotations

from proxy.core.breaker import Breaker
from proxy.core.model import RouteKey
from proxy.core.policies import BreakerPolicy
from proxy.upstream import breakers as module
from proxy.upstream.breakers import Breakers

POLICY = BreakerPolicy(consecutive=1, open=60, max_open=100)
SMALL, LARGE = RouteKey("acme", "a/b", "main"), RouteKey("acme", "large", "main")


def opened(times: int = 1) -> Breaker:
    breaker, now = Breaker(), 0.0
    for _ in range(times):
        admission = breaker.admit(POLICY, now)
        assert admission
        breaker.settle(admission, POLICY, now, ok=False)
        now = breaker.open_until
    return breaker


def test_a_healthy_breaker_is_neither_listed_nor_saved() -> None:
    breakers = Breakers()

    assert breakers.get(SMALL) is breakers.get(SMALL)
    assert breakers.ready(SMALL, POLICY, 0.0)
    assert breakers.rows(POLICY, 0.0) == []
    assert breakers.export(0.0) == []


def test_a_listed_breaker_is_the_one_in_use() -> None:
    breakers, breaker = Breakers(), opened()
    breakers.get(SMALL)

    assert breakers.list_failed(SMALL, breaker) is breaker
    assert breakers.list_failed(SMALL, Breaker()) is breaker
    assert breakers.get(SMALL) is breaker
    assert [route for route, _ in breakers.not_closed()] == [SMALL]


def test_healthy_breakers_are_bounded() -> None:
    breakers = Breakers()

    for number in range(module.MAX_BREAKERS + 5):
        breakers.get(RouteKey("acme", f"m{number}", "main"))

    assert len(breakers.healthy) == 5


def test_saved_breakers_are_restored_by_another_clock() -> None:
    before, after = Breakers(), Breakers()
    before.list_failed(SMALL, opened(2))

    after.restore(before.export(1000.0), 990.0, lambda reason: POLICY, 70.0)

    assert {route: breaker.open_until for route, breaker in after.failed.items()} == {SMALL: 170.0}
    assert after.export(990.0) == before.export(1000.0)


def test_a_reset_matches_by_parts() -> None:
    breakers = Breakers()
    breakers.list_failed(SMALL, opened())
    breakers.list_failed(LARGE, opened())

    assert breakers.reset("other", None, None) == []
    assert breakers.reset("acme", "large", None) == [LARGE]
    assert list(breakers.failed) == [SMALL]
