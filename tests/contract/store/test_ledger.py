"""The ledger in each database: rows are written once, and the sums agree with them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from proxy.core.ledger import AttemptRow, CallRow
from proxy.store import schema
from proxy.store.database import Database
from proxy.store.errors import InvalidValue, Missing
from proxy.store.ledger import LedgerStore
from proxy.store.minutes import MINUTE
from proxy.store.sums import DAY, HOUR, QUARTER

pytestmark = pytest.mark.anyio

NOON = 20_000 * DAY + 12 * HOUR
EVER = 2**62
CALL = CallRow(
    id="req_1",
    request_id="client-1",
    time=NOON + 5,
    endpoint="/v1/chat/completions",
    key_id="key_1",
    user="ann",
    team="red",
    client_id="app",
    model="tier/low",
    route="tier/low",
    provider="acme",
    upstream_model="small",
    stream=True,
    status=200,
    attempts=2,
    input_tokens=110,
    cached_tokens=10,
    output_tokens=20,
    reasoning_tokens=5,
    cost_nusd=1234,
    cost_status="exact",
    ms=12.5,
    ttft_ms=3.25,
    queue_ms=0.5,
    decision=b'{"id":"req_1"}',
)
ATTEMPT = AttemptRow(
    id="req_1-1",
    call_id="req_1",
    number=1,
    time=NOON + 6,
    provider="acme",
    model="small",
    provider_key="main",
    outcome="ok",
    status=200,
    ms=11.5,
    input_tokens=110,
    cached_tokens=10,
    cache_write_tokens=4,
    cache_write_1h_tokens=2,
    output_tokens=20,
    reasoning_tokens=5,
    audio_tokens=1,
    image_tokens=1,
    cost_nusd=1234,
    cost_status="exact",
    price_version="2026-11",
    key_id="key_1",
    user="ann",
    team="red",
    route="tier/low",
)
INTENT = AttemptRow(
    id="req_1-1",
    call_id="req_1",
    number=1,
    time=NOON + 6,
    provider="acme",
    model="small",
    provider_key="main",
    outcome="started",
    key_id="key_1",
    user="ann",
    team="red",
    route="tier/low",
)


def call(**changes: Any) -> CallRow:
    return msgspec.structs.replace(CALL, **changes)


def attempt(**changes: Any) -> AttemptRow:
    return msgspec.structs.replace(ATTEMPT, **changes)


@pytest.fixture
def ledger(database: Database) -> LedgerStore:
    return LedgerStore(database)


async def total(ledger: LedgerStore, *names: str) -> list[int]:
    [row] = await ledger.usage([], {}, 0, EVER - EVER % HOUR)
    return [row[name] for name in names]


async def spends(ledger: LedgerStore) -> list[int]:
    scopes = [("total", ""), ("provider", "acme"), ("team", "red"), ("user", "ann"), ("key", "key_1")]
    return [await ledger.spent(scope, id, 0, EVER) for scope, id in scopes]


async def test_a_call_is_read_with_its_attempts(ledger: LedgerStore) -> None:
    second = attempt(id="req_1-2", number=2, own_key=True, outcome="timeout", status=None, cause="reset")

    await ledger.write([CALL], [second, ATTEMPT])

    assert await ledger.request("req_1") == (CALL, [ATTEMPT, second])
    assert await ledger.requests({}) == [call(decision=None)]
    assert await ledger.request("req_2") is None


@pytest.mark.parametrize("repeats", [1, 3])
async def test_rows_that_are_repeated_count_once(ledger: LedgerStore, repeats: int) -> None:
    for _ in range(repeats):
        await ledger.write([CALL, CALL], [ATTEMPT, ATTEMPT])

    assert await total(ledger, "requests", "errors", "attempts", "input_tokens", "cost_nusd") == [1, 0, 1, 110, 1234]
    assert await spends(ledger) == [1234] * 5


@pytest.mark.parametrize(
    "batches",
    [
        [[INTENT], [ATTEMPT]],
        [[INTENT, ATTEMPT]],
        [[ATTEMPT, INTENT]],
        [[ATTEMPT], [INTENT]],
        [[INTENT], [msgspec.structs.replace(INTENT, outcome="unknown")], [ATTEMPT]],
        [[ATTEMPT], [msgspec.structs.replace(INTENT, outcome="unknown")]],
        [[attempt(cost_nusd=99, input_tokens=1)], [ATTEMPT]],
    ],
    ids=["later", "together", "reversed", "replayed", "unknown first", "unknown last", "corrected"],
)
async def test_an_intent_is_completed_once(ledger: LedgerStore, batches: Sequence[Sequence[AttemptRow]]) -> None:
    for batch in batches:
        await ledger.write([], batch)
    await ledger.write([CALL], [])

    assert await ledger.request("req_1") == (CALL, [ATTEMPT])
    assert await total(ledger, "attempts", "input_tokens", "cost_nusd") == [1, 110, 1234]
    assert await spends(ledger) == [1234] * 5


async def test_an_intent_counts_nothing(ledger: LedgerStore) -> None:
    await ledger.write([], [INTENT])

    assert await total(ledger, "attempts", "cost_nusd") == [0, 0]
    assert await spends(ledger) == [0] * 5


async def test_a_later_row_of_a_call_replaces_it(ledger: LedgerStore) -> None:
    left = call(outcome="client_closed", status=499)
    await ledger.write([CALL], [ATTEMPT])
    await ledger.write([left], [ATTEMPT])

    assert await ledger.request("req_1") == (left, [ATTEMPT])
    assert await total(ledger, "requests", "errors", "cost_nusd") == [1, 1, 1234]


async def test_own_provider_keys_spend_apart(ledger: LedgerStore) -> None:
    await ledger.write([CALL], [ATTEMPT, attempt(id="req_1-2", number=2, own_key=True, cost_nusd=50)])

    assert await total(ledger, "cost_nusd", "own_key_nusd", "input_tokens") == [1234, 50, 220]
    assert await spends(ledger) == [1234] * 5


async def test_spend_is_counted_by_quarter_hours(ledger: LedgerStore) -> None:
    times = [NOON - 1, NOON, NOON + QUARTER - 1, NOON + QUARTER]
    rows = [attempt(id=f"req_1-{n}", number=n, time=time, cost_nusd=10**n) for n, time in enumerate(times)]

    await ledger.write([], rows)

    assert await ledger.spent("user", "ann", NOON, NOON + QUARTER) == 110
    assert await ledger.spent("user", "ann", NOON - QUARTER, NOON + 2 * QUARTER) == 1111
    assert await ledger.spent("user", "bob", 0, EVER) == 0


async def test_large_amounts_are_exact(ledger: LedgerStore) -> None:
    rows = [attempt(id=f"req_1-{n}", number=n, cost_nusd=2**60 + n, input_tokens=2**40) for n in range(3)]

    await ledger.write([], rows)

    assert await total(ledger, "cost_nusd", "input_tokens") == [3 * 2**60 + 3, 3 * 2**40]


async def test_usage_is_grouped(ledger: LedgerStore) -> None:
    calls = [CALL, call(id="req_2", key_id=None, upstream_model=None, provider=None, status=401, time=NOON + DAY)]
    await ledger.write(calls, [ATTEMPT, attempt(id="req_1-2", model="large", cost_nusd=1, input_tokens=2)])

    by_model = await ledger.usage(["model", "key"], {}, NOON, NOON + 2 * DAY)
    by_day = await ledger.usage(["day"], {}, 0, NOON + 2 * DAY)
    by_hour = await ledger.usage(["hour"], {"key": "key_1"}, NOON, NOON + HOUR)

    assert [(row["model"], row["key"], row["requests"], row["cost_nusd"]) for row in by_model] == [
        (None, None, 1, 0),
        ("large", "key_1", 0, 1),
        ("small", "key_1", 1, 1234),
    ]
    midnight = NOON - 12 * HOUR
    assert [(row["day"], row["requests"], row["errors"], row["attempts"]) for row in by_day] == [
        (midnight, 1, 0, 2),
        (midnight + DAY, 1, 1, 0),
    ]
    assert [(row["hour"], row["input_tokens"]) for row in by_hour] == [(NOON, 112)]


async def test_minutes_are_summed_as_hours_are(ledger: LedgerStore) -> None:
    minutes = {"a": NOON + 1, "b": NOON + MINUTE - 1, "c": NOON + MINUTE, "d": NOON + 59 * MINUTE}
    calls = [call(id=id, time=time) for id, time in minutes.items()]
    calls += [call(id="e", time=NOON, status=500), call(id="f", time=NOON, outcome="partial", user=None)]
    calls += [call(id="g", time=NOON - 1), call(id="h", time=NOON + HOUR)]
    rows = [attempt(id=each.id, call_id=each.id, time=each.time, user=each.user) for each in calls]
    rows += [attempt(id="own", own_key=True, cost_nusd=7, model="large"), msgspec.structs.replace(INTENT, id="intent")]
    await ledger.write(calls, rows)
    groups = ["user", "model", "key"]

    by_hour = await ledger.usage(groups, {}, NOON, NOON + HOUR)
    by_minute = await ledger.usage([*groups, "minute"], {}, NOON, NOON + HOUR)
    filtered = await ledger.usage(["minute"], {"user": "ann", "model": ["small"]}, NOON + 1, NOON + MINUTE - 1)

    summed: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in by_minute:
        group = summed.setdefault(tuple(row[name] for name in groups), dict.fromkeys(schema.MEASURES, 0))
        group |= {name: group[name] + row[name] for name in schema.MEASURES}
    assert summed == {
        tuple(row[name] for name in groups): {name: row[name] for name in schema.MEASURES} for row in by_hour
    }
    assert [(row["minute"], row["requests"], row["errors"], row["attempts"]) for row in filtered] == [(NOON, 3, 1, 3)]


@pytest.mark.parametrize(
    ("start", "end", "hours"),
    [
        (NOON, NOON + 1, [0]),
        (NOON - 1, NOON, [-1]),
        (NOON - 13 * HOUR, NOON - 12 * HOUR, [-13]),
        (NOON - 13 * HOUR, NOON + 13 * HOUR, range(-13, 13)),
        (NOON - 12 * HOUR, NOON + 36 * HOUR, range(-12, 36)),
        (NOON - 20 * HOUR, NOON + 50 * HOUR, range(-20, 50)),
        (0, EVER, range(-60, 60)),
    ],
)
async def test_usage_of_any_range_is_exact(ledger: LedgerStore, start: int, end: int, hours: Sequence[int]) -> None:
    rows = [
        attempt(id=f"req_{hour}", time=NOON + hour * HOUR + 7, input_tokens=1 << (hour + 60) % 40)
        for hour in range(-60, 60)
    ]
    await ledger.write([], rows)

    [row] = await ledger.usage([], {}, start, end)

    assert row["attempts"] == len(hours)
    assert row["input_tokens"] == sum(1 << (hour + 60) % 40 for hour in hours)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, 3),
        ({"key": "key_1"}, 1),
        ({"key": ["key_1", "key_2"]}, 2),
        ({"user": "ann", "model": "small"}, 3),
        ({"provider": "other"}, 0),
        ({"key": []}, 0),
    ],
)
async def test_usage_is_filtered(ledger: LedgerStore, filters: dict[str, Any], expected: int) -> None:
    rows = [attempt(id=f"req_{n}", key_id=key) for n, key in enumerate(["key_1", "key_2", None])]
    await ledger.write([], rows)

    [row] = await ledger.usage([], filters, 0, EVER)

    assert row["attempts"] == expected


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [5, 4, 3, 2, 1, 0]),
        ({"key": "key_1"}, [4, 2, 0]),
        ({"model": "small"}, [5, 4, 3, 2, 1, 0]),
        ({"model": "m1"}, [1]),
        ({"status": 500}, [3]),
        ({"status": [500, 499]}, [4, 3]),
        ({"outcome": "client_closed"}, [4]),
        ({"start": NOON + 2, "end": NOON + 4}, [3, 2]),
        (
            {"user": "ann", "team": "red", "provider": "acme", "route": "tier/low", "client_id": "app"},
            [5, 4, 3, 2, 1, 0],
        ),
        ({"user": "bob"}, []),
    ],
)
async def test_requests_are_filtered(ledger: LedgerStore, filters: dict[str, Any], expected: list[int]) -> None:
    statuses = {3: (500, "error"), 4: (499, "client_closed")}
    rows = [
        call(
            id=f"req_{n}",
            time=NOON + n,
            key_id=f"key_{n % 2 + 1}",
            model=f"m{n}",
            status=statuses.get(n, (200, ""))[0],
            outcome=statuses.get(n, (200, "ok"))[1],
        )
        for n in range(6)
    ]
    await ledger.write(rows, [])

    assert [row.id for row in await ledger.requests(filters)] == [f"req_{n}" for n in expected]


async def test_pages_are_stable_under_inserts(ledger: LedgerStore) -> None:
    ids = [f"req_{n}" for n in range(8)]
    await ledger.write([call(id=id, time=NOON + int(id[-1]) // 3) for id in ids], [])

    seen: list[str] = []
    while page := await ledger.requests({}, seen[-1] if seen else None, 3):
        seen += [row.id for row in page]
        await ledger.write([call(id=f"req_new{len(seen)}", time=NOON + 99)], [])

    assert seen == sorted(ids, reverse=True)


async def test_a_page_behind_an_unknown_request_is_an_error(ledger: LedgerStore) -> None:
    with pytest.raises(Missing, match="there is no request `req_9`"):
        await ledger.requests({}, "req_9")


@pytest.mark.parametrize("payload", ["' OR '1'='1", "'; DELETE FROM calls; --", "%", "key_1\\", 'x" --'])
async def test_an_injection_in_a_filter_matches_nothing(ledger: LedgerStore, payload: str) -> None:
    await ledger.write([CALL], [ATTEMPT])

    assert await ledger.requests({"key": payload, "model": payload}) == []
    assert await ledger.usage(["key"], {"key": payload}, 0, EVER) == []
    assert await ledger.spent("key", payload, 0, EVER) == 0
    assert await ledger.request(payload) is None
    assert await ledger.request("req_1") == (CALL, [ATTEMPT])


async def test_unknown_groups_and_filters_are_rejected(ledger: LedgerStore) -> None:
    with pytest.raises(InvalidValue, match="cannot group by `digest`"):
        await ledger.usage(["digest"], {}, 0, EVER)
    with pytest.raises(InvalidValue, match="cannot filter by `1=1`"):
        await ledger.usage([], {"1=1": "x"}, 0, EVER)
    with pytest.raises(InvalidValue, match="`key` must not contain NUL"):
        await ledger.requests({"key": "a\0"})


async def test_values_that_cannot_be_stored_are_replaced(ledger: LedgerStore) -> None:
    strange = call(id="req_2", request_id="a\0b", client_id="\ud800", model="x" * 10, status=99999, input_tokens=2**70)

    await ledger.write([CALL, strange], [ATTEMPT])

    found = await ledger.request("req_2")
    assert found is not None
    assert found[0].client_id == "?"
    assert found[0].input_tokens == 2**53
    assert (await ledger.request("req_1")) == (CALL, [ATTEMPT])


async def test_writers_of_the_same_rows_at_once_count_once(ledger: LedgerStore) -> None:
    """As after a lost connection, whose transaction may still run."""
    calls = [call(id=f"req_{n}") for n in range(20)]
    rows = [attempt(id=f"req_{n}-1", call_id=f"req_{n}") for n in range(20)]

    async with asyncio.TaskGroup() as group:
        for turn in range(6):
            order = -1 if turn % 2 else 1
            group.create_task(ledger.write(calls[::order], rows[::order]))

    assert await total(ledger, "requests", "attempts", "cost_nusd") == [20, 20, 20 * 1234]
    assert await spends(ledger) == [20 * 1234] * 5


async def test_too_many_groups_are_rejected(ledger: LedgerStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await ledger.write([], [attempt(id=f"req_{n}", key_id=f"key_{n}") for n in range(4)])

    monkeypatch.setattr("proxy.store.reports.MAX_GROUPS", 4)
    assert len(await ledger.usage(["key"], {}, 0, EVER)) == 4

    monkeypatch.setattr("proxy.store.reports.MAX_GROUPS", 3)
    with pytest.raises(InvalidValue, match="more than 3 groups"):
        await ledger.usage(["key"], {}, 0, EVER)


async def test_calls_are_read_again_in_the_order_of_their_times(
    ledger: LedgerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.store.ledger._PAGE", 2)
    rows = [msgspec.structs.replace(CALL, id=f"req_{at}", time=NOON + at // 2, model=f"m{at % 3}") for at in range(7)]
    await ledger.write(rows[::-1], [])

    async def read(start: int, end: int, **options: Any) -> list[CallRow]:
        return [row async for row in ledger.decided(start, end, **options)]

    assert await read(NOON, NOON + 9) == rows
    assert await read(NOON + 1, NOON + 3) == rows[2:6]
    assert [row.id for row in await read(NOON, NOON + 9, models=["m1"])] == ["req_1", "req_4"]
    assert await read(NOON, NOON + 9, most=3) == rows[4:]
    assert await read(NOON + 9, EVER) == []
