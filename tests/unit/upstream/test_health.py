"""Leases: which key of which deployment may be used, and what is learned from how it went."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from proxy.core.failures import RULES, FailureKind, UpstreamFailure
from proxy.core.model import KEYLESS, Deployment, ProviderKey
from proxy.core.plan import DeploymentHealth
from proxy.core.policies import BreakerPolicy
from proxy.upstream.breakers import MAX_BREAKERS
from proxy.upstream.health import Health, Lease
from tests.support.calls import deployment, live, provider, snapshot
from tests.support.fakes import FakeClock

POLICY = BreakerPolicy(consecutive=2, window=600, window_failures=5, open=60, max_open=600, half_open=1)
ONE = deployment()
TWO = deployment(of=provider("acme", "a", "b"))


def made(policy: BreakerPolicy = POLICY) -> tuple[Health, FakeClock]:
    clock = FakeClock()
    return Health(clock, live(breaker=policy)), clock


def lease(health: Health, of: Deployment = ONE, **options: Any) -> Lease:
    got = health.lease(of, **options)
    assert got
    return got


def failed(kind: FailureKind, **fields: Any) -> UpstreamFailure:
    return UpstreamFailure(kind, "x", **fields)


def fail(health: Health, of: Deployment = ONE, kind: FailureKind = FailureKind.SERVER_ERROR, **fields: Any) -> None:
    key_id = fields.pop("key_id", None)
    lease(health, of, key_id=key_id).fail(failed(kind, **fields))


def opened(of: Deployment = ONE) -> tuple[Health, FakeClock]:
    health, clock = made()
    for _ in range(POLICY.consecutive):
        fail(health, of)
    return health, clock


def test_what_is_healthy_takes_no_memory() -> None:
    health, _ = made()

    lease(health).succeed()
    lease(health).settle(ok=None)

    assert health.breaker_rows() == []
    assert health.cooldown_rows() == []


def test_a_success_changes_nothing_of_a_healthy_breaker() -> None:
    health, _ = made()
    first, second = lease(health), lease(health)

    second.fail(failed(FailureKind.SERVER_ERROR))
    first.succeed()  # ends the row of failures
    fail(health)

    assert [(row["state"], row["failures"]) for row in health.breaker_rows()] == [("closed", 2)]


def test_a_reset_ignores_attempts_that_began_before_it() -> None:
    health, _ = made()
    running = [lease(health) for _ in range(POLICY.consecutive)]

    health.reset()
    for each in running:
        each.fail(failed(FailureKind.SERVER_ERROR))

    assert health.breaker_rows() == []


def test_a_keyless_provider_is_leased_without_a_key() -> None:
    health, _ = made()

    got = lease(health, deployment(of=provider(keyless=True)))

    assert (got.key, got.key_id) == (None, KEYLESS)


def test_a_breaker_that_opens_ends_the_leases_until_its_time() -> None:
    health, clock = opened()

    assert health.lease(ONE) is None
    clock.pass_(59.9)
    assert health.lease(ONE) is None
    clock.pass_(0.1)

    assert lease(health).admission.probe


def test_a_breaker_is_one_of_provider_model_and_key() -> None:
    health, _ = made()
    for _ in range(2):
        fail(health, TWO, key_id="a")

    assert lease(health, TWO).key_id == "b"
    assert lease(health, deployment("other", TWO.provider), key_id="a")


@pytest.mark.parametrize("kind", [k for k in FailureKind if not RULES[UpstreamFailure(k, "").failure_class].breaker])
def test_what_is_not_the_upstream_s_fault_does_not_trip(kind: FailureKind) -> None:
    health, clock = made()

    for _ in range(10):
        fail(health, kind=kind)
        clock.pass_(4000)

    assert [row["state"] for row in health.breaker_rows()] in ([], ["closed"])


def test_a_lease_counts_once() -> None:
    health, _ = made()
    got = lease(health)

    for _ in range(5):
        got.fail(failed(FailureKind.CONNECT))
    got.succeed()

    assert [row["failures"] for row in health.breaker_rows()] == [1]


def test_a_success_does_not_hide_the_failures_of_calls_under_way() -> None:
    health, _ = made()
    leases = [lease(health) for _ in range(3)]

    leases[0].succeed()
    for each in leases[1:]:
        each.fail(failed(FailureKind.CONNECT))

    assert [row["state"] for row in health.breaker_rows()] == ["open"]


def test_half_open_leases_the_probe_and_nothing_else() -> None:
    health, clock = opened()
    clock.pass_(60)

    probe = lease(health)

    assert health.lease(ONE) is None
    assert health.blocked(ONE)
    probe.succeed()
    assert not lease(health).admission.probe


def test_a_probe_whose_client_left_is_given_back() -> None:
    health, clock = opened()
    clock.pass_(60)

    lease(health).settle(ok=None)

    assert lease(health).admission.probe


def test_a_probe_with_a_rejected_key_is_released() -> None:
    health, clock = opened()
    clock.pass_(60)
    fail(health, kind=FailureKind.BAD_REQUEST)

    assert lease(health).admission.probe


def test_force_ignores_open_breakers_but_not_cooldowns() -> None:
    health, _ = opened()

    forced = lease(health, force=True)
    assert forced.admission.forced
    forced.fail(failed(FailureKind.RATE_LIMITED))

    assert health.lease(ONE, force=True) is None


def test_a_probe_of_a_reset_breaker_is_ignored() -> None:
    health, clock = opened()
    clock.pass_(60)
    stale = lease(health)
    health.reset()
    for _ in range(2):
        fail(health)
    clock.pass_(60)
    probe = lease(health)
    assert probe.admission == stale.admission

    stale.settle(ok=None)

    assert health.lease(ONE) is None
    probe.succeed()
    assert lease(health)


@pytest.mark.parametrize(("hint", "seconds"), [(7.5, 7.5), (None, RULES["rate_limit"].rest), (0.0, 0.0)])
def test_a_429_rests_the_key_for_this_model_as_long_as_was_asked(hint: float | None, seconds: float) -> None:
    health, clock = made()
    fail(health, kind=FailureKind.RATE_LIMITED, retry_after=hint)

    if seconds:
        block = health.blocked(ONE)
        assert block
        assert (block.reason, block.retry_after) == ("rate_limited", seconds)
        assert health.lease(ONE) is None
    assert lease(health, deployment("other", ONE.provider))
    clock.pass_(seconds)

    assert lease(health)
    assert health.breaker_rows() == [] or health.breaker_rows()[0]["failures"] == 0


def test_a_429_without_a_hint_does_not_shorten_a_cooldown() -> None:
    health, _ = made()
    first, second = lease(health), lease(health)

    first.fail(failed(FailureKind.RATE_LIMITED, retry_after=60.0))
    second.fail(failed(FailureKind.RATE_LIMITED))

    assert [row["seconds_left"] for row in health.cooldown_rows()] == [60.0]


def test_a_rejected_key_has_growing_cooldowns_for_all_models() -> None:
    health, clock = made()
    lasted = []

    for _ in range(7):
        fail(health, kind=FailureKind.KEY_REJECTED, retry_after=1.0)
        assert health.lease(deployment("other", ONE.provider)) is None
        [rest] = health.cooldown_rows()
        assert (rest["model"], rest["reason"]) == (None, "key_rejected")
        lasted.append(rest["seconds_left"])
        clock.pass_(rest["seconds_left"])

    assert lasted == [60, 120, 240, 480, 960, 1800, 1800]


def test_rejections_of_calls_under_way_together_are_one() -> None:
    health, _ = made()
    leases = [lease(health) for _ in range(10)]

    for each in leases:
        each.fail(failed(FailureKind.KEY_REJECTED))

    assert [rest["seconds_left"] for rest in health.cooldown_rows()] == [60]


def test_a_key_that_works_again_begins_anew() -> None:
    health, clock = made()
    fail(health, kind=FailureKind.KEY_REJECTED)
    clock.pass_(60)
    lease(health).succeed()

    fail(health, kind=FailureKind.KEY_REJECTED)

    assert [rest["seconds_left"] for rest in health.cooldown_rows()] == [60]


def test_a_success_does_not_end_a_rest_that_is_not_over() -> None:
    health, _ = made()
    early, late = lease(health), lease(health)
    early.fail(failed(FailureKind.RATE_LIMITED, retry_after=30.0))

    late.succeed()

    assert health.lease(ONE) is None


def test_one_key_that_rests_leaves_the_other() -> None:
    health, _ = made()
    fail(health, TWO, FailureKind.KEY_REJECTED, key_id="a")

    assert {lease(health, TWO).key_id for _ in range(5)} == {"b"}
    assert health.blocked(TWO) is None
    assert health.blocked(TWO, "a")


def test_keys_share_by_weight_evenly_spread() -> None:
    health, _ = made()
    keys = (ProviderKey("a", "x", 5), ProviderKey("b", "x", 1), ProviderKey("c", "x", 1))
    of = deployment(of=provider(keys=keys))

    got = [lease(health, of).key_id for _ in range(70)]

    assert Counter(got) == {"a": 50, "b": 10, "c": 10}
    assert all(set(got[at : at + 7]) == {"a", "b", "c"} for at in range(0, 70, 7))


def test_weights_may_be_fractions() -> None:
    health, _ = made()
    of = deployment(of=provider(keys=(ProviderKey("a", "x", 0.75), ProviderKey("b", "x", 0.25))))

    got = [lease(health, of).key_id for _ in range(40)]

    assert Counter(got) == {"a": 30, "b": 10}


def test_equal_keys_take_turns() -> None:
    health, _ = made()

    got = [lease(health, TWO).key_id for _ in range(6)]

    assert got in (["a", "b"] * 3, ["b", "a"] * 3)


def test_a_key_can_be_pinned_or_avoided() -> None:
    health, _ = made()

    assert {lease(health, TWO, key_id="b").key_id for _ in range(4)} == {"b"}
    assert {lease(health, TWO, avoid=frozenset({"b"})).key_id for _ in range(4)} == {"a"}
    assert health.lease(TWO, avoid=frozenset({"a", "b"})) is None
    assert health.lease(TWO, key_id="c") is None


def test_a_block_says_why_and_for_how_long() -> None:
    health, _ = opened()
    assert health.blocked(deployment("healthy")) is None

    block = health.blocked(ONE)
    missing = health.blocked(ONE, "no such key")

    assert block
    assert (block.reason, block.retry_after, block.message) == ("circuit_open", 60.0, "its circuit breaker is open")
    assert missing
    assert missing.reason == "no_key"


def test_a_block_by_rests_tells_the_soonest() -> None:
    health, _ = made()
    fail(health, TWO, FailureKind.KEY_REJECTED, key_id="a")
    fail(health, TWO, FailureKind.RATE_LIMITED, key_id="b", retry_after=9.0)

    block = health.blocked(TWO)

    assert block
    assert (block.reason, block.retry_after) == ("rate_limited", 9.0)
    assert "the provider's rate limit" in block.message


def test_the_view_tells_only_what_is_worth_telling() -> None:
    health, _ = made()
    well, slow, ill, tired = (deployment(name) for name in ("well", "slow", "ill", "tired"))
    health.latency.add(slow.name, 2.5)
    health.latency.add(ill.name, 1.0)
    for _ in range(2):
        fail(health, ill)
    fail(health, tired, FailureKind.RATE_LIMITED, retry_after=4.0)

    view = health.view(snapshot(well, slow, ill, tired))

    assert view == {
        "acme/slow": DeploymentHealth(latency=2.5),
        "acme/ill": DeploymentHealth(False, "its circuit breaker is open", 60.0, 1.0),
        "acme/tired": DeploymentHealth(False, "all its keys are in cooldown: the provider's rate limit", 4.0, None),
    }


def test_the_view_tells_a_target_with_one_key_left_as_available() -> None:
    health, _ = made()
    fail(health, TWO, FailureKind.RATE_LIMITED, key_id="a")

    assert health.view(snapshot(TWO)) == {}


def test_latency_is_a_moving_average() -> None:
    health, _ = made()

    health.latency.add(ONE.name, 1.0)
    health.latency.add(ONE.name, 2.0)

    assert health.latencies() == {"acme/small": pytest.approx(1.2)}


@pytest.mark.parametrize(
    ("wanted", "count", "left"),
    [
        ({}, 4, []),
        ({"provider": "acme"}, 3, [("other", "small")]),
        ({"provider": "acme", "model": "small"}, 1, [("acme", "big"), ("other", "small")]),
        ({"model": "small"}, 2, [("acme", "big")]),
        ({"key": "main"}, 4, []),
        ({"key": "nobody"}, 0, [("acme", "small"), ("acme", "big"), ("other", "small")]),
    ],
)
def test_a_reset_closes_what_matches(wanted: dict[str, str], count: int, left: list[tuple[str, str]]) -> None:
    health, _ = made()
    big, other = deployment("big"), deployment(of=provider("other"))
    for of in (ONE, ONE, big, big, other, other):
        fail(health, of)
    lease(health, deployment("third")).fail(failed(FailureKind.KEY_REJECTED))
    for row in list(health.breaker_rows()):
        assert row["state"] == "open" or row["model"] == "third"

    assert health.reset(**wanted) == count

    assert [(row["provider"], row["model"]) for row in health.breaker_rows()] == left


def test_a_reset_ends_rests() -> None:
    health, _ = made()
    fail(health, kind=FailureKind.RATE_LIMITED, retry_after=30.0)

    assert health.reset("acme", "small", "main") == 1
    assert lease(health)


def test_breakers_are_listed_with_their_state_as_it_is_now() -> None:
    health, clock = opened()

    [row] = health.breaker_rows()
    assert row == {
        "provider": "acme",
        "model": "small",
        "key": "main",
        "state": "open",
        "failures": 0,
        "openings": 1,
        "reason": "server_error",
        "open_seconds_left": 60.0,
    }
    clock.pass_(60)

    assert [(row["state"], row["open_seconds_left"]) for row in health.breaker_rows()] == [("half-open", 0.0)]


def test_memory_is_bounded_whatever_models_clients_name() -> None:
    health, _ = made()

    for number in range(MAX_BREAKERS + 50):
        of = deployment(f"m{number}")
        got = lease(health, of)
        got.fail(failed(FailureKind.RATE_LIMITED if number % 2 else FailureKind.CONNECT))
        health.latency.add(of.name, 1.0)

    assert len(health.breaker_rows()) <= MAX_BREAKERS
    assert len(health.cooldown_rows()) <= MAX_BREAKERS
    assert len(health.latencies()) == MAX_BREAKERS


def test_state_outlives_a_reload() -> None:
    health, _ = opened()

    again = deployment(of=provider("acme", headers={"new": "setting"}))

    assert health.lease(again) is None


def test_a_slow_answer_counts_for_the_breaker_but_not_the_key() -> None:
    health, _ = made()

    for _ in range(POLICY.consecutive):
        got = lease(health)
        got.succeed(5.0, slow=True)
        got.succeed()  # what the stream shows later comes too late

    [row] = health.breaker_rows()
    assert row["state"] == "open"
    assert [(due.reason, due.length, due.cooldown) for due in health.probe_candidates()] == [("slow", 60.0, False)]
    assert health.cooldown_rows() == []


def test_a_background_probe_leases_a_breaker_that_is_not_closed() -> None:
    health, clock = opened()
    clock.pass_(55.0)

    got = health.probe(ONE, ONE.provider.keys[0])

    assert got
    assert health.probe(ONE, ONE.provider.keys[0]) is None
    assert health.probe(TWO, TWO.provider.keys[0]) is None
    got.succeed()
    assert health.probe_candidates() == []


def test_a_probed_key_works_again_or_rests_on_for_longer() -> None:
    health, clock = made()
    fail(health, kind=FailureKind.KEY_REJECTED, status=401)
    clock.pass_(55.0)
    [due] = health.probe_candidates()

    health.probed(due, failed(FailureKind.KEY_REJECTED))
    assert [row["seconds_left"] for row in health.cooldown_rows()] == [120.0]
    health.probed(due, None)

    assert health.cooldown_rows() == []
    clock.pass_(1.0)
    fail(health, kind=FailureKind.KEY_REJECTED, status=401)  # for a call it does not: the row goes on
    assert [row["seconds_left"] for row in health.cooldown_rows()] == [240.0]
    health.reset()
    health.probed(due, failed(FailureKind.KEY_REJECTED))
    assert health.cooldown_rows() == []


def test_attempts_from_before_a_reset_do_not_count_for_the_new_breaker() -> None:
    health, _ = made()
    before = [lease(health) for _ in range(POLICY.consecutive)]
    health.reset()
    fail(health)

    for each in before:
        each.fail(failed(FailureKind.SERVER_ERROR))

    assert [(row["state"], row["failures"]) for row in health.breaker_rows()] == [("closed", 1)]


def test_lease_tells_the_callers_own_key_from_pooled_keys() -> None:
    health, _ = made()
    own = deployment(of=replace(provider(), keys=(ProviderKey("pk_1", "sk-own-secret", own=True),)))

    assert [lease(health, own).own_key, lease(health).own_key] == [True, False]
    assert lease(health, deployment(of=provider(keyless=True))).own_key is False
