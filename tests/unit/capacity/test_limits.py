"""From configured and learned limits to tickets, and from answers to what is learned."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from proxy.capacity import learned
from proxy.capacity import limits as module
from proxy.capacity.limits import Limits
from proxy.capacity.memory import MemoryCounters
from proxy.capacity.store import Charge, CounterKey, Reservation, Row, Wait
from proxy.core.model import Deployment, LimitValues, ProviderKey, RouteKey
from tests.support.calls import deployment, live, provider
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio

PLAIN = deployment()
ROUTE = RouteKey("acme", "small", "main")
LIMITED = deployment(limits=LimitValues(rpm=2, tpm=1000, concurrency=2))


class Untouched:
    """A store, and a queue, that must not be called."""

    def __getattr__(self, name: str) -> Any:
        def call(*args: object) -> None:
            raise AssertionError(f"{name} was called")

        return call


def made() -> tuple[Limits, MemoryCounters, FakeClock]:
    clock = FakeClock()
    store = MemoryCounters(clock)
    return Limits(store, clock, live()), store, clock


async def reserved(limits: Limits, of: Deployment = LIMITED, tokens: int = 100, key: str = "main") -> Reservation:
    reservation = await limits.reserve(of, key, tokens)
    assert isinstance(reservation, Reservation)
    return reservation


async def refused(limits: Limits, of: Deployment = LIMITED, tokens: int = 100, key: str = "main") -> Wait:
    wait = await limits.reserve(of, key, tokens)
    assert isinstance(wait, Wait)
    return wait


async def counts(limits: Limits) -> dict[str, int]:
    return {row["kind"]: row["used"] for row in await limits.rows()}


async def test_a_key_without_limits_never_asks_the_store() -> None:
    limits = Limits(Untouched(), FakeClock(), live(), notify=Untouched().notify)

    reservation = await limits.reserve(PLAIN, "main", 100)
    limits.learn(PLAIN, "main", {"content-type": "application/json"}, 0.0)

    assert reservation is None
    assert await limits.wait(PLAIN, "main", 100) == 0.0


async def test_a_reservation_takes_a_request_its_tokens_and_a_place() -> None:
    limits, _, _ = made()

    await reserved(limits, tokens=300)

    assert await counts(limits) == {"rpm": 1, "tpm": 300, "concurrency": 1}


async def test_settling_corrects_the_tokens_and_gives_the_place_back() -> None:
    limits, _, _ = made()
    reservation = await reserved(limits, tokens=300)

    limits.settle(reservation, 120)

    assert await counts(limits) == {"rpm": 1, "tpm": 120}


async def test_where_nobody_knows_the_tokens_the_reservation_stands() -> None:
    limits, _, _ = made()

    limits.settle(await reserved(limits, tokens=300), None)

    assert await counts(limits) == {"rpm": 1, "tpm": 300}


async def test_what_was_not_sent_leaves_no_trace() -> None:
    limits, _, _ = made()

    limits.release(await reserved(limits))

    assert await counts(limits) == {}


async def test_room_that_comes_is_told() -> None:
    clock = FakeClock()
    notified: list[RouteKey] = []
    limits = Limits(MemoryCounters(clock), clock, live(), notify=notified.append)
    first, second = await reserved(limits), await reserved(limits)
    assert notified == []

    limits.settle(first, 10)
    limits.release(second)

    assert notified == [ROUTE, ROUTE]


async def test_a_full_window_says_exactly_how_long() -> None:
    limits, _, clock = made()
    for _ in range(2):
        limits.settle(await reserved(limits, tokens=1), 1)

    wait = await refused(limits, tokens=1)
    clock.pass_(wait.seconds)

    assert 60.0 <= wait.seconds <= 60.6
    await reserved(limits, tokens=1)


async def test_more_tokens_than_the_limit_never_fit() -> None:
    limits, _, _ = made()

    assert (await refused(limits, tokens=1001)).seconds == math.inf
    assert await limits.wait(LIMITED, "main", 1001) == math.inf


async def test_keys_and_models_are_counted_apart() -> None:
    limits, _, _ = made()
    of = provider("acme", "a", "b")
    values = LimitValues(rpm=1)

    for model in ("small", "large"):
        for key in ("a", "b"):
            await reserved(limits, deployment(model, of, limits=values), key=key)

    assert len(await limits.rows()) == 4


async def test_what_a_key_says_replaces_what_the_model_says() -> None:
    keys = (ProviderKey("a", "x", limits=LimitValues(rpm=9)), ProviderKey("b", "y"))
    both = deployment(of=replace(provider(), keys=keys), limits=LimitValues(rpm=5, tpm=7))
    limits, _, _ = made()

    assert limits.configured(both, "a").values == LimitValues(rpm=9, tpm=7)
    assert limits.configured(both, "b").values == LimitValues(rpm=5, tpm=7)
    assert limits.configured(deployment(of=both.provider), "a").values == LimitValues(rpm=9)


async def test_a_day_is_any_24_hours() -> None:
    limits, _, clock = made()
    daily = deployment(limits=LimitValues(rpd=1))
    limits.settle(await reserved(limits, daily), None)

    clock.pass_(23 * 3600.0)

    assert 3600.0 <= (await refused(limits, daily)).seconds <= 3600.0 + 676.0


def openai(what: str, limit: int, remaining: int, reset: str) -> dict[str, str]:
    values = {"limit": limit, "remaining": remaining, "reset": reset}
    return {f"x-ratelimit-{name}-{what}": str(value) for name, value in values.items()}


def anthropic(what: str, limit: int, remaining: int, reset: str) -> dict[str, str]:
    values = {"limit": limit, "remaining": remaining, "reset": reset}
    return {f"anthropic-ratelimit-{what}-{name}": str(value) for name, value in values.items()}


async def test_an_unconfigured_limit_is_learned() -> None:
    limits, _, _ = made()

    limits.learn(PLAIN, "main", openai("requests", 3, 2, "20s") | openai("tokens", 500, 400, "6ms"), 0.0)

    assert limits.charges(PLAIN, "main", 70) == [
        Charge(CounterKey(ROUTE, "rpm"), 3, 60.0, 1),
        Charge(CounterKey(ROUTE, "tpm"), 500, 60.0, 70, estimated=True),
        Charge(CounterKey(ROUTE, "cooldown"), 0, 0.0, 0),
    ]
    assert limits.charges(PLAIN, "other", 70) == []


async def test_the_lower_of_configured_and_learned_limits_counts() -> None:
    limits, _, _ = made()

    limits.learn(LIMITED, "main", openai("requests", 1, 1, "0s") | openai("tokens", 90_000, 1, "6ms"), 0.0)

    rpm, tpm, *_ = limits.charges(LIMITED, "main", 70)
    assert (rpm.limit, tpm.limit) == (1, 1000)


async def test_a_limit_that_the_provider_raises_is_forgotten() -> None:
    limits, _, _ = made()
    limits.learn(LIMITED, "main", openai("requests", 1, 1, "0s"), 0.0)

    limits.learn(LIMITED, "main", openai("requests", 50, 49, "1s"), 0.0)

    assert limits.charges(LIMITED, "main", 70)[0].limit == 2


async def test_what_was_learned_grows_old() -> None:
    limits, _, clock = made()
    limits.learn(PLAIN, "main", openai("requests", 3, 2, "20s"), 0.0)

    clock.pass_(learned.LEARNED_FOR)

    assert limits.charges(PLAIN, "main", 70) == []


async def test_a_reset_that_no_minute_has_is_that_of_a_day() -> None:
    limits, _, _ = made()

    limits.learn(PLAIN, "main", openai("requests", 14_400, 14_390, "1m0s"), 0.0)
    assert limits.charges(PLAIN, "main", 70)[0].seconds == 60.0
    limits.learn(PLAIN, "main", openai("requests", 14_400, 14_370, "2m59.56s"), 0.0)
    limits.learn(PLAIN, "main", openai("requests", 14_400, 14_395, "30s"), 0.0)

    [day, _] = limits.charges(PLAIN, "main", 70)
    assert (day.counter.kind, day.limit, day.seconds) == ("rpd", 14_400, 86_400.0)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (openai("requests", 60, 0, "60s"), 1.0),
        (openai("requests", 200, 0, "24h"), 432.0),
        (openai("requests", 60, 0, "1060"), 1060 / 60),
        (openai("requests", 60, 0, "1700000060"), 1.0),
        (openai("tokens", 30_000, 0, "1m0s"), 4.0),
        (openai("tokens", 60, 0, "12"), 12.0),
        (openai("requests", 60, 0, "60s") | openai("tokens", 30_000, 0, "30s"), 2.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "12000ms"}, 12.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6h"}, 60.0),
        (anthropic("requests", 50, 0, "2023-11-14T22:14:20Z"), 1.2),
        (anthropic("input-tokens", 50_000, 0, "2023-11-14T22:14:20Z"), 2.4),
        (
            anthropic("output-tokens", 8000, 0, "2023-11-14T22:13:40Z")
            | anthropic("tokens", 9, 9, "2023-11-14T22:18:20Z"),
            5.0,
        ),
        (openai("requests", 60, 0, "60s") | {"retry-after": "soon"}, 1.0),
    ],
)
async def test_an_exhausted_limit_cools_the_key_until_a_call_fits(headers: dict[str, str], seconds: float) -> None:
    limits, _, clock = made()

    limits.learn(PLAIN, "main", headers, 1_700_000_000.0)

    wait = await refused(limits, PLAIN, tokens=1)
    assert wait.seconds == pytest.approx(seconds)
    assert await limits.wait(PLAIN, "main", 1) == pytest.approx(seconds)
    clock.pass_(seconds + 0.001)
    assert not isinstance(await limits.reserve(PLAIN, "main", 1), Wait)


@pytest.mark.parametrize("told", [{"retry-after": "1"}, {"retry-after-ms": "1000"}, {"retry-after": "0"}])
async def test_retry_after_beats_a_reset(told: dict[str, str]) -> None:
    limits, _, _ = made()

    limits.learn(PLAIN, "main", openai("requests", 500, 0, "1m0s") | told, 0.0)

    rpm, _ = limits.charges(PLAIN, "main", 1)
    assert (rpm.counter.kind, rpm.limit) == ("rpm", 500)  # which is learned all the same
    assert await limits.wait(PLAIN, "main", 1) == 0.0


SPENT = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "7s"}


async def test_only_the_key_with_the_exhausted_limit_cools_down() -> None:
    limits, store, clock = made()

    limits.learn(LIMITED, "main", SPENT, 0.0)
    limits.learn(LIMITED, "other", {"retry-after": "7"}, 0.0)

    assert await refused(limits) == Wait(7.0)
    assert isinstance(await limits.reserve(LIMITED, "other", 1), Reservation)
    assert await store.read() == [
        Row(CounterKey(ROUTE, "cooldown"), 0, None, 0.0, 7.0),
        *[row for row in await store.read() if row.counter.owner != ROUTE],
    ]
    clock.pass_(7.0)
    await reserved(limits)


async def test_after_a_rest_an_unlimited_key_costs_nothing_again() -> None:
    limits, _, clock = made()
    limits.learn(PLAIN, "main", SPENT, 0.0)

    clock.pass_(7.0)

    assert await limits.reserve(PLAIN, "main", 100) is None


@pytest.mark.parametrize("value", ["", "many", "-1", "1e9", "\u0663", "9" * 40, "0"])
async def test_nonsense_teaches_nothing(value: str) -> None:
    limits, _, _ = made()

    limits.learn(PLAIN, "main", {"x-ratelimit-limit-requests": value, "x-ratelimit-reset-requests": "x"}, 0.0)

    assert limits.charges(PLAIN, "main", 1) == []


async def test_what_is_learned_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ROUTES", 3)
    monkeypatch.setattr(learned, "MAX_ROUTES", 3)
    limits, _, _ = made()

    for number in range(10):
        of = deployment(f"m{number}")
        limits.learn(of, "main", openai("requests", 9, 0, "5s"), 0.0)

    assert len(limits.export(0.0).learned) == len(limits.export(0.0).cooldowns) == 3
    assert limits.charges(deployment("m9"), "main", 1) != []


async def test_rows_tell_what_counts_and_where_it_comes_from() -> None:
    limits, _, _ = made()
    of = deployment("org/model:v1", limits=LimitValues(rpm=2, concurrency=3))
    limits.learn(of, "main", openai("requests", 1, 1, "1s"), 0.0)

    await reserved(limits, of)

    rows = {row.pop("kind"): row for row in await limits.rows()}
    where = {"provider": "acme", "model": "org/model:v1", "key": "main", "rest_seconds_left": 0.0}
    assert rows["rpm"] == {**where, "limit": 1, "used": 1, "learned": True}
    assert rows["concurrency"] == {**where, "limit": 3, "used": 1, "learned": False}


async def test_call_above_a_limit_says_nothing_about_the_capacity_for_others() -> None:
    limits, _, _ = made()

    assert (await refused(limits, tokens=5000)).seconds == math.inf

    assert limits.expected(LIMITED) != math.inf


async def test_cooldown_that_is_over_is_dropped_by_the_next_attempt() -> None:
    limits, _, clock = made()
    spent = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "2s"}
    limits.learn(LIMITED, "main", spent, clock.time())
    assert limits.contended

    clock.now += 100.0
    limits.settle(await reserved(limits), 1)

    assert not limits.contended
    assert limits.has_ample(limits.configured(LIMITED, "main"), 1)


async def test_learned_limit_of_requests_needs_no_tokens() -> None:
    limits, _, clock = made()
    limits.learn(PLAIN, "main", {"x-ratelimit-limit-requests": "9", "x-ratelimit-reset-requests": "2s"}, clock.time())
    assert not limits.counts_tokens(limits.configured(PLAIN, "main"))

    limits.learn(PLAIN, "main", {"x-ratelimit-limit-tokens": "900", "x-ratelimit-reset-tokens": "2s"}, clock.time())
    assert limits.counts_tokens(limits.configured(PLAIN, "main"))
