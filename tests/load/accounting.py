"""10,000 mixed calls: the records, the metrics, the budgets and the upstream's own log agree to the nano-dollar.

Four users call with keys of their own, streamed and not, two providers that err, cut and limit; some clients leave in
mid-stream. Whole answers have a usage, so what they cost is known from the upstream's log. An answer without a usage
costs an estimate, which must be the same in every place.
"""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

from tests.load.client import Client, chat_body, in_parallel, request_bytes
from tests.load.harness import ADMIN, Gateway, Options, Upstreams, gateway, until, upstreams
from tests.load.report import Report
from tests.load.scripted import Behaviour, Seen, usage

SHORT_FORM = Options(calls=120)

NAMES = ("alpha", "beta")
USERS = ("ada", "bob", "cyd", "dan")
INPUT, OUTPUT = 2_500, 10_000  # nano-dollars a token: 2.5 and 10 dollars a million
WIDTH = 16
LEAVE = 0.04  # the share of clients that leave in mid-stream
NANO = 10**9
_BOTH = "attempts a join calls c on c.id = a.call_id"
MIX = [
    Behaviour(weight=30),
    Behaviour(weight=10, words=40),
    Behaviour(weight=2, status=500),
    Behaviour(weight=1, status=429, code="rate_limit_exceeded", headers={"retry-after-ms": "20"}),
    Behaviour(weight=1, end="fin"),
    Behaviour(weight=1, end="fin", after=2),
    Behaviour(weight=1, end="rst", after=3),
    Behaviour(weight=3, words=30, pace=0.01),
]


async def check(report: Report, options: Options) -> None:
    """Streamed and not, 16 at a time."""
    count, rng = options.calls or 10_000, random.Random(options.seed)
    async with upstreams(*NAMES) as up, gateway(configuration(up), {"SIGNALBOX_PEPPER": "p" * 32}) as box:
        await up.seed(options.seed)
        for name in NAMES:
            await up.behave(name, *MIX)
        client = box.client()
        keys = {user: await _new_key(client, user) for user in USERS}
        left = await _drive(client, keys, count, rng)
        client.close()
        await box.settled(count - len(left))
        await box.settled(count, within=2)  # the request of a client that left may not have been read
        log = await up.log()
        await _judge(report, box, log, left, count)


def configuration(up: Upstreams) -> dict[str, Any]:
    """Two providers with the same price, and budgets that cover all of it."""
    cap = {"usd": 1000, "period": "month"}
    return {
        "store": "sqlite",
        "auth": {"mode": "keys", "pepper": "${SIGNALBOX_PEPPER}"},
        "providers": {
            name: {"base_url": up.url(name), "keys": [{"id": "main", "value": f"{name}-key"}]} for name in NAMES
        },
        "models": [{"id": f"{name}/model", "price": {"input": 2.5, "output": 10}, "max_output": 100} for name in NAMES],
        "routing": {"scenarios": {"all": [f"{name}/model" for name in NAMES]}},
        "budgets": [
            {"scope": "total", **cap},
            *({"scope": "provider", "id": name, **cap} for name in NAMES),
            *({"scope": "user", "id": user, **cap} for user in USERS),
        ],
        "resilience": {"breaker": {"consecutive": 1000, "window_failures": 1000}, "retry": {"backoff": "10ms"}},
    }


async def _new_key(client: Client, user: str) -> str:
    for path, body in (("users", {"id": user}), ("keys", {"name": f"key of {user}", "user": user})):
        answer = await client.call(request_bytes("POST", f"/admin/{path}", body, ADMIN))
        if answer.status != 201:
            raise RuntimeError(f"POST /admin/{path}: {answer.status} {answer.body.decode()}")
    key: str = json.loads(answer.body)["key"]
    return key


async def _drive(client: Client, keys: dict[str, str], count: int, rng: random.Random) -> set[str]:
    """Make the calls, and return those whose clients left."""
    left: set[str] = set()

    async def call(number: int) -> None:
        user, stream, leaves = rng.choice(USERS), rng.random() < 0.5, rng.random() < LEAVE
        model = rng.choice(("scenario/all", "alpha/model", "beta/model"))
        body = chat_body(model, f"call {number}", stream=stream, router={"client_id": f"call {number}"})
        if leaves:
            left.add(f"call {number}")
        request = request_bytes(
            "POST", "/v1/chat/completions", body, {"authorization": f"Bearer {keys[user]}", "connection": "keep-alive"}
        )
        if not leaves:
            await client.call(request, stream=stream)
            return
        async with client.sent(request) as (reader, _):
            try:
                async with asyncio.timeout(0.05):
                    await reader.readuntil(b"data: ")
            except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
                pass  # it leaves before the first content, or the answer was no stream

    await in_parallel(count, WIDTH, call)
    return left


async def _judge(report: Report, box: Gateway, log: list[Seen], left: set[str], count: int) -> None:
    store = box.config.parent / "data" / "signalbox.db"

    known = [line for line in box.calls if line["model"] is not None]  # others left before they were identified

    async def stored() -> bool:
        return len(_rows(store, "select id from calls")) >= len(known)

    await until(stored)
    calls = _rows(store, "select client_id from calls")
    report.equal("records of calls, and access lines", len(calls), len(known))
    recorded_calls = Counter(name for (name,) in calls)
    stayers = {f"call {number}" for number in range(count)} - left
    report.equal("calls without exactly one record", sum(recorded_calls[call] != 1 for call in stayers), 0)
    report.equal("calls with two records", sum(number > 1 for number in recorded_calls.values()), 0)

    arrived = Counter(seen.call for seen in log)
    recorded = Counter(dict(_rows(store, f"select c.client_id, count(*) from {_BOTH} group by 1")))
    report.equal("attempts without a record", sum((arrived - recorded).values()), 0)
    more = recorded - arrived  # the request of a client that left may not have arrived
    report.equal("records without an attempt", sum(more[call] for call in more if call not in left), 0)

    stayed = [seen for seen in log if seen.call not in left]
    expected = sum(_cost(seen) for seen in stayed if seen.status == 200 and seen.end == "whole")
    exact = _rows(store, f"select c.client_id, a.cost_nusd from {_BOTH} where a.cost_status = 'exact'")
    booked = sum(nusd for call, nusd in exact if call not in left)
    report.equal("nano-dollars of whole answers: ledger and upstream's log", booked, expected)
    total = _sum(store, "select sum(cost_nusd) from attempts")
    report.figure("nano-dollars in all", total)
    report.figure("of them estimated", _sum(store, "select sum(cost_nusd) from attempts where cost_status <> 'exact'"))
    report.equal("sum of calls", _sum(store, "select sum(cost_nusd) from calls"), total)
    metric = await box.metric(r"signalbox_cost_usd_total\b")
    report.equal("metric `signalbox_cost_usd_total`", round(metric * NANO), total)
    usage_rows = await box.rows("usage", "&group_by=user")
    report.equal("`GET /admin/usage`", sum(round(row["cost_usd"] * NANO) for row in usage_rows), total)
    report.equal("requests in `GET /admin/usage`", sum(row["requests"] for row in usage_rows), len(calls))
    await _judge_budgets(report, box, store, total)


async def _judge_budgets(report: Report, box: Gateway, store: Path, total: int) -> None:
    budgets = {(row["scope"], row["id"]): row for row in await box.rows("budgets")}
    spent = {place: round(row["spent_usd"] * NANO) for place, row in budgets.items()}
    report.equal("budget in total", next(nusd for (scope, _), nusd in spent.items() if scope == "total"), total)
    for scope, column in (("provider", "provider"), ("user", "user_id")):
        rows = dict(_rows(store, f"select {column}, sum(cost_nusd) from attempts group by 1"))
        differ = [name for name, nusd in rows.items() if spent.get((scope, name), 0) != (nusd or 0)]
        report.equal(f"budgets of a {scope} that differ from the records", differ, [])
    report.equal("still reserved", sum(row["reserved_usd"] for row in budgets.values()), 0)


def _cost(seen: Seen) -> int:
    tokens = usage(seen.sent)
    return tokens["prompt_tokens"] * INPUT + tokens["completion_tokens"] * OUTPUT


def _sum(store: Path, query: str) -> int:
    return int(_rows(store, query)[0][0] or 0)


def _rows(store: Path, query: str) -> list[Any]:
    connection = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()
