"""What a class of failures does to breakers and keys, where an operator says otherwise than the table."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.failures import RULES, FailureKind, FailureRule, UpstreamFailure
from proxy.core.model import Deployment
from proxy.core.policies import BreakerPolicy
from proxy.upstream.health import Health
from tests.support.calls import deployment, live, provider, snapshot
from tests.support.fakes import FakeClock

POLICY = BreakerPolicy(consecutive=1, window=600, window_failures=5, open=60, max_open=600, half_open=1)
ONE = deployment()
OTHER = deployment("other", ONE.provider)
K = FailureKind


def ruled(**rules: FailureRule) -> tuple[Health, FakeClock]:
    clock = FakeClock()
    return Health(clock, live(breaker=POLICY, failures={**RULES, **rules})), clock


def fail(health: Health, kind: FailureKind, of: Deployment = ONE, **fields: Any) -> None:
    lease = health.lease(of)
    assert lease
    lease.fail(UpstreamFailure(kind, "x", **fields))


def open_for(health: Health) -> float:
    """The seconds for which the one breaker is open; 0 if it is not."""
    return max((row["open_seconds_left"] for row in health.breaker_rows()), default=0.0)


def rests(health: Health) -> list[tuple[str | None, float]]:
    """The models for which keys rest, None being all, and for how long."""
    return [(row["model"], row["seconds_left"]) for row in health.cooldown_rows()]


# breakers


@pytest.mark.parametrize(
    ("rule", "seconds"),
    [
        (FailureRule(breaker=True), [60.0, 120.0, 240.0]),  # the breaker's own
        (FailureRule(breaker=True, open=10.0), [10.0, 20.0, 40.0]),
        (FailureRule(breaker=True, open=10.0, max_open=15.0), [10.0, 15.0, 15.0]),
        (FailureRule(breaker=True, max_open=100.0), [60.0, 100.0, 100.0]),
        (FailureRule(breaker=True, max_open=30.0), [30.0, 30.0, 30.0]),
        (FailureRule(breaker=True, open=900.0), [900.0, 900.0, 900.0]),  # longer than the breaker's longest
        (FailureRule(breaker=False), [0.0, 0.0, 0.0]),
    ],
)
def test_a_class_has_its_own_open_time(rule: FailureRule, seconds: list[float]) -> None:
    health, clock = ruled(timeout=rule)
    seen = []

    for _ in seconds:
        fail(health, K.FIRST_TOKEN_TIMEOUT)
        seen.append(open_for(health))
        clock.pass_(seen[-1])

    assert seen == seconds


def test_the_failure_that_opens_it_says_for_how_long() -> None:
    health, clock = ruled(timeout=FailureRule(breaker=True, open=10.0))

    fail(health, K.FIRST_TOKEN_TIMEOUT)
    first = open_for(health)
    clock.pass_(10.0)
    fail(health, K.SERVER_ERROR)

    assert (first, open_for(health)) == (10.0, 120.0)  # the second opening in a row


@pytest.mark.parametrize("kind", [K.RATE_LIMITED, K.KEY_REJECTED, K.BAD_REQUEST, K.CONTENT_FILTERED])
def test_any_class_may_count_against_the_breaker(kind: FailureKind) -> None:
    name = UpstreamFailure(kind, "x").failure_class
    health, _ = ruled(**{name: FailureRule(breaker=True)})

    fail(health, kind)

    assert open_for(health) == 60.0


def test_slow_and_unclassified_failures_use_the_own_open_time() -> None:
    health, _ = ruled(server_error=FailureRule(breaker=True, open=1.0), timeout=FailureRule(breaker=True, open=1.0))
    lease = health.lease(ONE)
    assert lease

    lease.succeed(9.0, slow=True)

    assert open_for(health) == 60.0


# keys


@pytest.mark.parametrize(
    ("rule", "said", "seconds"),
    [
        (FailureRule(key="model"), None, 5.0),
        (FailureRule(key="model", rest=60.0), None, 60.0),
        (FailureRule(key="model", rest=60.0), 2.0, 2.0),  # the provider knows better
        (FailureRule(key="model", max_rest=30.0), 3600.0, 30.0),
        (FailureRule(key="model", rest=60.0, max_rest=30.0), None, 30.0),
        (FailureRule(key="model", max_rest=30.0), 30.0, 30.0),
    ],
)
def test_a_cooldown_follows_the_provider_then_the_rule(rule: FailureRule, said: float | None, seconds: float) -> None:
    health, _ = ruled(rate_limit=rule)

    fail(health, K.RATE_LIMITED, retry_after=said)

    assert rests(health) == [("small", seconds)]


def test_cooldowns_of_a_rejected_key_double_up_to_a_maximum() -> None:
    health, clock = ruled(auth=FailureRule(key="everywhere", rest=10.0, max_rest=35.0))
    seen = []

    for _ in range(4):
        fail(health, K.KEY_REJECTED, status=401)
        seen.append(rests(health)[0][1])
        clock.pass_(seen[-1])

    assert seen == [10.0, 20.0, 35.0, 35.0]


def test_the_cooldown_of_a_rejected_key_ignores_retry_after() -> None:
    health, _ = ruled(auth=FailureRule(key="everywhere", rest=10.0, max_rest=35.0))

    fail(health, K.KEY_REJECTED, status=401, retry_after=1.0)

    assert rests(health) == [(None, 10.0)]


@pytest.mark.parametrize(
    ("effect", "expected", "other_usable"),
    [("none", [], True), ("model", [("small", 5.0)], True), ("everywhere", [(None, 5.0)], False)],
)
@pytest.mark.parametrize("kind", [K.RATE_LIMITED, K.SERVER_ERROR])
def test_every_class_can_choose_the_scope_of_its_cooldown(
    kind: FailureKind, effect: Any, expected: list[tuple[str | None, float]], other_usable: bool
) -> None:
    name = UpstreamFailure(kind, "x").failure_class
    health, _ = ruled(**{name: FailureRule(key=effect)})

    fail(health, kind)

    assert rests(health) == expected
    assert (health.lease(OTHER) is not None) is other_usable


def test_a_keyless_provider_has_no_cooldown_for_all_models() -> None:
    health, _ = ruled(server_error=FailureRule(key="everywhere"))
    keyless = deployment(of=provider(keyless=True))

    fail(health, K.SERVER_ERROR, keyless)

    assert rests(health) == []


def test_a_reload_s_rules_count_from_then_on() -> None:
    config, clock = live(failures={**RULES, "rate_limit": FailureRule(key="model", rest=5.0)}), FakeClock()
    health = Health(clock, config)
    fail(health, K.RATE_LIMITED)
    clock.pass_(5.0)

    config.snapshot = snapshot(failures={**RULES, "rate_limit": FailureRule(key="model", rest=50.0)})
    fail(health, K.RATE_LIMITED)

    assert rests(health) == [("small", 50.0)]
