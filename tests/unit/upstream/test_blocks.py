"""Why a deployment is unavailable."""

from __future__ import annotations

import pytest

from proxy.core.breaker import Breaker
from proxy.core.failures import FailureKind
from proxy.core.model import RouteKey
from proxy.core.policies import BreakerPolicy
from proxy.upstream.blocks import Block, block_of
from proxy.upstream.breakers import Breakers
from proxy.upstream.cooldowns import CooldownKey, Cooldowns

POLICY = BreakerPolicy(consecutive=1, open=60)
ONE, TWO = RouteKey("acme", "small", "one"), RouteKey("acme", "small", "two")
OPEN = Block("circuit_open", 60.0, "its circuit breaker is open")


def opened(*routes: RouteKey, reason: str = "") -> Breakers:
    breakers = Breakers()
    for route in routes:
        breaker = breakers.list_failed(route, Breaker())
        admission = breaker.admit(POLICY, 0.0)
        assert admission
        breaker.settle(admission, POLICY, 0.0, ok=False)
        breaker.reason = reason
    return breakers


def cooling(*routes: RouteKey) -> Cooldowns:
    cooldowns = Cooldowns()
    for seconds, route in enumerate(routes, 5):
        cooldowns.start(CooldownKey("acme", route.key_id, None), FailureKind.KEY_REJECTED, seconds, 1, 0.0)
    return cooldowns


@pytest.mark.parametrize(
    ("breakers", "cooldowns", "block"),
    [
        (opened(), cooling(), None),
        (opened(ONE), cooling(), None),  # the other key works
        (opened(ONE), cooling(TWO), OPEN),  # the breaker ends by itself
        (opened(ONE, TWO), cooling(), OPEN),
        (opened(ONE, TWO, reason="slow"), cooling(), Block("circuit_open", 60.0, "its circuit breaker is open", True)),
        (
            opened(),
            cooling(TWO, ONE),
            Block("key_rejected", 5.0, "all its keys are in cooldown: the provider rejected the key"),
        ),
    ],
)
def test_a_deployment_is_blocked_if_no_key_can_be_used(
    breakers: Breakers, cooldowns: Cooldowns, block: Block | None
) -> None:
    assert block_of([ONE, TWO], breakers, cooldowns, POLICY, 0.0) == block


def test_a_deployment_without_the_pinned_key_is_blocked() -> None:
    assert block_of([], opened(), cooling(), POLICY, 0.0) == Block("no_key", 0.0, "it has no such key")


def test_a_breaker_whose_time_is_over_blocks_nothing() -> None:
    assert block_of([ONE], opened(ONE), cooling(), POLICY, 60.0) is None
