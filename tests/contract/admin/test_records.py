"""Usage, records and own usage over each database, and that no tenant sees what belongs to another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import Mock

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.core.errors import NotAuthenticated, ProxyError
from proxy.core.ledger import AttemptRow, CallRow
from proxy.core.principal import Identified, Principal
from proxy.http.usage import OwnUsage
from proxy.store.database import Database
from proxy.store.ledger import LedgerStore
from tests.contract.admin.box import NOW, Box, boxed
from tests.support.routes import routes_with

pytestmark = pytest.mark.anyio

HOUR = 3600
DAY = 24 * HOUR
TODAY = int(NOW) - int(NOW) % DAY
PRINCIPALS: dict[str, Principal] = {
    "ann's key": Identified("key_a", key_id="key_a", user="ann", team="red"),
    "ann's token": Identified("ann", user="ann", team="red"),
    "bob's key": Identified("key_b", key_id="key_b", user="bob", team="red"),
    "a key of red": Identified("key_t", key_id="key_t", team="red"),
    "nobody": Principal("address-1"),
    "an auditor": Identified("eve", user="eve", role="auditor"),
}
CALLS = {  # id: key, user, team, provider, model, cost in nano-dollars, hours ago
    "req_1": ("key_a", "ann", "red", "acme", "small", 1_000_000_000, 1),
    "req_2": (None, "ann", "red", "acme", "large", 500_000_000, 2),  # by a token
    "req_3": ("key_b", "bob", "red", "acme", "small", 250_000_000, 1),
    "req_4": ("key_t", None, "red", "far", "small", 125_000_000, 30),
    "req_5": (None, None, None, "acme", "small", 0, 1),
}
OWN = {  # the calls that each principal sees of itself
    "ann's key": {"req_1", "req_2"},
    "ann's token": {"req_1", "req_2"},
    "bob's key": {"req_3"},
    "a key of red": {"req_4"},
    "nobody": {"req_5"},
    "an auditor": set[str](),
}
GROUPS = "key,user,team,provider,model"


def rows() -> Iterator[tuple[CallRow, AttemptRow]]:
    for id, (key, user, team, provider, model, nusd, hours) in CALLS.items():
        time = int(NOW - hours * HOUR) * 1_000_000
        owner: dict[str, Any] = {"key_id": key, "user": user, "team": team}
        tokens: dict[str, Any] = {"input_tokens": 100, "cached_tokens": 10, "output_tokens": 20, "reasoning_tokens": 5}
        cost: dict[str, Any] = {"cost_nusd": nusd, "cost_status": "exact"}
        call = CallRow(
            id=id, request_id=f"client-{id}", time=time, endpoint="/v1/chat/completions", model="tier/low",
            route="tier/low", provider=provider, upstream_model=model, status=200, attempts=1, ms=12.5, ttft_ms=3.25,
            decision=b'{"id":"x"}', **owner, **tokens, **cost,
        )  # fmt: skip
        attempt = AttemptRow(
            id=f"{id}-1", call_id=id, number=1, time=time, provider=provider, model=model, provider_key="main",
            outcome="ok", status=200, ms=11.0, route="tier/low", price_version="v1", **owner, **tokens, **cost,
        )  # fmt: skip
        yield call, attempt


def ids(data: list[dict[str, Any]]) -> set[str]:
    """Return the calls that rows of usage, grouped by `GROUPS`, stand for."""
    by_group = {values[:5]: id for id, values in CALLS.items()}
    return {by_group[tuple(row[name] for name in GROUPS.split(","))] for row in data}  # type: ignore[index]


@pytest.fixture
async def ledger(database: Database) -> LedgerStore:
    ledger = LedgerStore(database)
    calls, attempts = zip(*rows(), strict=True)
    await ledger.write(calls, attempts)
    return ledger


@pytest.fixture
async def box(database: Database, ledger: LedgerStore) -> AsyncIterator[Box]:
    async with boxed(database) as box:
        yield box


@asynccontextmanager
async def own(ledger: LedgerStore | None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the own endpoints; `x-api-key` names the principal, `x-admin` stands for the admin token."""

    def identify(headers: Any, address: Any) -> Principal:
        if (principal := PRINCIPALS.get(headers.get("x-api-key", ""))) is None:
            raise NotAuthenticated("Send a key.")
        return principal

    async def refused(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, ProxyError)
        return JSONResponse({"message": str(exc), "param": exc.param}, exc.http_status)

    admin = Mock(admits=lambda request: "x-admin" in request.headers)
    table = routes_with(identify=identify, admin=admin, usage=OwnUsage(ledger, lambda: NOW))
    app = Starlette(routes=table, exception_handlers={ProxyError: refused})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://box") as client:
        yield client


# The admin's view


async def test_usage_sums_calls_by_group(box: Box) -> None:
    total = await box.ok("GET", "usage")
    by_user = await box.ok("GET", "usage", group_by="user,day", team="red", provider="acme")

    measures = {"cache_write_tokens": 0, "audio_tokens": 0, "errors": 0, "own_key_cost_usd": 0.0}
    assert total == {
        "object": "list",
        "has_more": False,
        "last_id": "1",
        "data": [
            {
                "requests": 5, "input_tokens": 500, "cached_tokens": 50, "output_tokens": 100, "reasoning_tokens": 25,
                "cost_usd": 1.875, **measures,
            }
        ],
    }  # fmt: skip
    assert [(row["user"], row["day"], row["requests"], row["cost_usd"]) for row in by_user["data"]] == [
        ("ann", "2027-01-15", 2, 1.5),
        ("bob", "2027-01-15", 1, 0.25),
    ]


async def test_usage_has_pages_and_ranges(box: Box) -> None:
    first = await box.ok("GET", "usage", group_by="key,user", limit=2)
    rest = await box.ok("GET", "usage", group_by="key,user", limit=2, after=first["last_id"])
    recent = await box.ok("GET", "usage", start="2027-01-15T07:00:00Z", end="2027-01-15T08:00:00Z")

    assert (len(first["data"]), first["has_more"]) == (2, True)
    assert len(rest["data"]) == 2
    assert recent["data"][0]["requests"] == 3


async def test_an_invalid_parameter_is_named(box: Box) -> None:
    cases = [
        ("usage", {"group_by": "user,nothing"}, "group_by"),
        ("usage", {"usr": "ann"}, "usr"),
        ("usage", {"start": "yesterday"}, "start"),
        ("usage", {"start": "2027-02-01", "end": "2027-01-01"}, "start"),
        ("usage", {"end": "9" * 12}, "end"),
        ("usage", {"after": "x"}, "after"),
        ("requests", {"status": "ok"}, "status"),
        ("requests", {"statuss": "200"}, "statuss"),
        ("requests", {"after": "req_none"}, "after"),
        ("audit", {"who": "me"}, "who"),
    ]
    answers = [(await box.error("GET", path, **query))[:2] for path, query, _ in cases]

    assert answers == [(400, field) for _, _, field in cases]


async def test_budgets_show_what_is_spent(box: Box) -> None:
    await box.ok("POST", "teams", {"id": "red", "budget": {"usd": 20, "period": "total"}})
    await box.ok("POST", "users", {"id": "ann", "budget": {"usd": 2, "period": "day"}})
    await box.ok("POST", "users", {"id": "bob"})  # has the default
    await box.ok("POST", "users", {"id": "carol", "budget": {"usd": 0, "hard": False}})
    await box.ok("POST", "keys", {"name": "without a budget"})

    rows = (await box.ok("GET", "budgets"))["data"]

    day, month = "2027-01-16T00:00:00Z", "2027-02-01T00:00:00Z"
    names = ("scope", "id", "usd", "period", "hard", "spent_usd", "reserved_usd", "resets_at")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("total", None, 10.0, "day", True, 1.75, 0.0, day),
        ("total", None, 50.0, "month", True, 1.875, 0.0, month),
        ("team", "red", 20.0, "total", True, 1.875, 0.0, None),
        ("user", "ann", 2.0, "day", True, 1.5, 0.0, day),
        ("user", "bob", 1.0, "month", True, 0.25, 0.0, month),
        ("user", "carol", 0.0, "month", False, 0.0, 0.0, month),
    ]


async def test_budgets_have_pages(box: Box) -> None:
    for id in ("a", "b", "c"):
        await box.ok("POST", "users", {"id": id})
    whole = (await box.ok("GET", "budgets"))["data"]
    seen: list[Any] = []
    after: dict[str, str] = {}
    for _ in range(len(whole)):
        page = await box.ok("GET", "budgets", limit=1, **after)
        seen += page["data"]
        after = {"after": page["last_id"]}

    assert seen == whole
    assert (len(seen), page["has_more"]) == (5, False)


async def test_records_are_listed_the_newest_first(box: Box) -> None:
    first = await box.ok("GET", "requests", limit=3)
    rest = await box.ok("GET", "requests", limit=3, after=first["last_id"])

    times = [row["time"] for row in first["data"] + rest["data"]]
    assert (len(first["data"]), first["has_more"], rest["has_more"]) == (3, True, False)
    assert times == sorted(times, reverse=True)
    assert {row["id"] for row in first["data"] + rest["data"]} == set(CALLS)


async def test_records_are_filtered(box: Box) -> None:
    async def found(**query: Any) -> set[str]:
        return {row["id"] for row in (await box.ok("GET", "requests", **query))["data"]}

    assert await found(user="ann") == {"req_1", "req_2"}
    assert await found(key=["key_a", "key_b"]) == {"req_1", "req_3"}
    assert await found(provider="far", status="200") == {"req_4"}
    assert await found(status="500") == set()
    assert await found(end="2027-01-15T00:00:00Z") == {"req_4"}


async def test_a_record_has_its_attempts_and_its_decision(box: Box) -> None:
    [listed] = (await box.ok("GET", "requests", key="key_a"))["data"]
    shown = await box.ok("GET", "requests/req_1")

    [attempt] = shown["attempts"]
    assert (attempt["id"], attempt["outcome"], attempt["cost_usd"]) == ("req_1-1", "ok", 1.0)
    assert shown["decision"] == {"id": "x"}
    assert {**shown, "attempts": 1} == {**listed, "decision": {"id": "x"}, "judgements": []}
    assert (listed["key_id"], listed["request_id"], listed["cost_usd"]) == ("key_a", "client-req_1", 1.0)


# Own usage


async def test_every_caller_sees_its_own_calls_only(ledger: LedgerStore) -> None:
    async with own(ledger) as client:
        seen = {}
        for name in PRINCIPALS:
            answer = await client.get("/v1/usage", params={"group_by": GROUPS}, headers={"x-api-key": name})
            seen[name] = ids(answer.json()["data"])

    assert seen == OWN


async def test_no_filter_reaches_the_calls_of_another(ledger: LedgerStore) -> None:
    async with own(ledger) as client:
        for name in ("bob's key", "a key of red", "nobody"):
            for filters in ({"key": "key_a"}, {"key": ["key_a", "key_b", "key_t"]}, {"model": "large"}):
                answer = await client.get(
                    "/v1/usage", params={"group_by": GROUPS, **filters}, headers={"x-api-key": name}
                )
                assert ids(answer.json()["data"]) <= OWN[name]
            for forbidden in ("user", "team"):
                answer = await client.get("/v1/usage", params={forbidden: "ann"}, headers={"x-api-key": name})
                assert (answer.status_code, answer.json()["param"]) == (400, forbidden)


async def costs(client: httpx.AsyncClient, headers: dict[str, str], **query: Any) -> float:
    params = {"start_time": TODAY - DAY, "limit": 31, **query}
    answer = await client.get("/v1/organization/costs", params=params, headers=headers)
    assert answer.status_code == 200, answer.text
    return sum(result["amount"]["value"] for bucket in answer.json()["data"] for result in bucket["results"])


async def test_the_organization_of_a_member_is_its_own(ledger: LedgerStore) -> None:
    async with own(ledger) as client:
        seen = {name: await costs(client, {"x-api-key": name}) for name in PRINCIPALS}
        filters = [{"user_ids[]": "ann"}, {"api_key_ids": "key_a"}, {"project_ids[]": "red"}]
        others = [await costs(client, {"x-api-key": "a key of red"}, **each) for each in filters]
        all_calls = await costs(client, {"x-admin": "1"})

    expected = {name: sum(CALLS[id][5] for id in own_ids) / 1e9 for name, own_ids in OWN.items()}
    assert seen == {**expected, "an auditor": 1.875}
    assert others == [0.0, 0.0, 0.125]
    assert all_calls == 1.875


async def test_buckets_have_the_groups_and_the_tokens(ledger: LedgerStore) -> None:
    async with own(ledger) as client:
        params = {"start_time": TODAY - DAY, "end_time": TODAY + DAY, "group_by[]": ["project_id", "model"]}
        page = (await client.get("/v1/organization/usage/completions", params=params, headers={"x-admin": "1"})).json()

    assert (page["object"], page["has_more"], page["next_page"]) == ("page", False, None)
    assert [(bucket["start_time"], bucket["end_time"]) for bucket in page["data"]] == [
        (TODAY - DAY, TODAY),
        (TODAY, TODAY + DAY),
    ]
    results = {(result["project_id"], result["model"]): result for result in page["data"][1]["results"]}
    assert set(results) == {("red", "small"), ("red", "large"), (None, "small")}
    assert results["red", "small"] == {
        "object": "organization.usage.completions.result",
        "input_tokens": 200,
        "input_cached_tokens": 20,
        "input_cache_write_tokens": 0,
        "output_tokens": 40,
        "num_model_requests": 2,
        "project_id": "red",
        "user_id": None,
        "api_key_id": None,
        "model": "small",
        "batch": None,
        "service_tier": None,
    }


async def test_buckets_of_a_minute_have_the_calls_of_that_minute(ledger: LedgerStore) -> None:
    called = int(NOW) - HOUR
    params = {"start_time": called - 60, "end_time": called + 60, "bucket_width": "1m"}
    async with own(ledger) as client:
        seen = {
            who: (
                await client.get("/v1/organization/usage/completions", params=params, headers={"x-api-key": who})
            ).json()
            for who in ("ann's key", "an auditor", "nobody")
        }

    counts = {
        who: {
            bucket["start_time"]: [each["num_model_requests"] for each in bucket["results"]] for bucket in page["data"]
        }
        for who, page in seen.items()
    }
    minute = called - called % 60
    assert {who: count[minute] for who, count in counts.items()} == {"ann's key": [1], "an auditor": [3], "nobody": [1]}
    assert all(count[minute - 60] == [] for count in counts.values())


async def test_without_a_store_there_is_no_usage() -> None:
    async with own(None) as client:
        answer = await client.get("/v1/usage", headers={"x-api-key": "nobody"})

    assert answer.status_code == 400
    assert "`store: none`" in answer.json()["message"]


async def test_no_record_contains_more_than_its_fields(box: Box) -> None:
    [(call, attempt), *_] = rows()

    shown = await box.ok("GET", f"requests/{call.id}")

    assert "team" in shown
    assert set(shown["attempts"][0]) <= {*attempt.__struct_fields__, "cost_usd"}
    assert shown.pop("judgements") == []
    assert set(shown) <= {*call.__struct_fields__, "cost_usd"}
    assert msgspec.json.encode(shown)
