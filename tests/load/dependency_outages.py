"""Redis and PostgreSQL stopped, frozen and slow under load: calls go on, and wait at most 50 ms more after a second.

Calls with a virtual key that has limits and a hard budget, `RATE` a second. The p99 of each outage from its second
second on is compared with the one before; after each of them the dependency is used again within 2 s. In the end every
answered call has its record, and the budget has what they cost.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.core.location import locate
from proxy.store.migrate import migrate_to
from tests.load.client import Answer, Client, at_rate, chat_body, request_bytes
from tests.load.harness import ADMIN, Gateway, Options, Upstreams, gateway, now, until, upstreams
from tests.load.report import Report, percentile
from tests.support.databases import ENCODED, USER, Postgres, binaries
from tests.support.redis_server import REDIS, Line, RedisServer, free_port

SHORT_FORM = Options(seconds=0.3)

RATE = 50.0
SECONDS = 5.0  # of each measurement
GRACE = 1.0  # from the beginning of an outage
MORE = 50.0  # milliseconds that the p99 may gain
RECOVERY = 2.0  # seconds
NANO = 10**9
INPUT = 7000  # nano-dollars of an answer: seven tokens at a dollar a million


@dataclass(frozen=True)
class Outage:
    """One outage: how it begins and ends."""

    name: str
    begin: Callable[[], None]
    end: Callable[[], None]
    metric: str  # 1 while the dependency is unavailable
    is_noticed: bool = True  # else it is slow, but answers in time
    in_short: bool = False


@dataclass(frozen=True)
class Dependencies:
    """Both servers, and the lines to them."""

    redis: RedisServer
    redis_line: Line
    postgres: Postgres
    postgres_line: Line
    database: str

    def outages(self) -> Iterator[Outage]:
        """Yield them all."""
        state, store = "signalbox_state_degraded", "signalbox_store_degraded"
        redis, postgres = self.redis, self.postgres
        yield Outage("Redis stopped", redis.stop, redis.start, state)
        yield Outage("Redis frozen", redis.freeze, redis.thaw, state)
        for delay in (0.2, 0.05):
            name = f"Redis answers after {2000 * delay:g} ms"
            yield Outage(name, *_delays(self.redis_line, delay), state, in_short=delay == 0.2)
        yield Outage("PostgreSQL stopped", postgres.stop, postgres.start, store)
        yield Outage("PostgreSQL frozen", postgres.freeze, postgres.thaw, store, in_short=True)
        yield Outage("PostgreSQL answers after 400 ms", *_delays(self.postgres_line, 0.2), store, is_noticed=False)


def _delays(line: Line, seconds: float) -> tuple[Callable[[], None], Callable[[], None]]:
    def begin() -> None:
        line.delay = seconds

    def end() -> None:
        line.delay = 0.0

    return begin, end


async def check(report: Report, options: Options) -> None:
    """One outage after the other."""
    programs = binaries()
    if programs is None or REDIS is None:
        report.note("PostgreSQL or Redis is not installed: skipped")
        return
    seconds, short = options.seconds or SECONDS, options == SHORT_FORM
    grace = seconds if short else GRACE
    async with _dependencies(programs) as both, upstreams("up") as up:
        config = _configuration(up, both)
        async with gateway(config, {"SIGNALBOX_PEPPER": "p" * 32}) as box:
            calls = Calls(box, await _key(box))
            await calls.drive(min(seconds, 1.0))  # warm
            for outage in both.outages():
                if short and not outage.in_short:
                    continue
                before = await calls.drive(seconds)
                outage.begin()
                began = now()
                during = await calls.drive(grace + seconds)
                if outage.is_noticed:
                    report.equal(f"{outage.name}: {outage.metric}", await _becomes(box, outage.metric, 1), True)
                outage.end()
                _judge(report, outage, before, during, began + grace)
                began = now()
                report.equal(f"{outage.name}: used again", await _becomes(box, outage.metric, 0), True)
                report.at_most(f"{outage.name}: seconds until then", now() - began, RECOVERY, "s", full_only=True)
            await _settle(report, box, both, calls)


class Calls:
    """Makes calls with one key; `answered` has all of their answers."""

    def __init__(self, box: Gateway, key: str) -> None:
        self._client = box.client(10.0)
        headers = {"authorization": f"Bearer {key}"}
        self._request = request_bytes("POST", "/v1/chat/completions", chat_body("up/model", max_tokens=10), headers)
        self.answers: list[Answer] = []

    async def drive(self, seconds: float) -> list[Answer]:
        """Call for some seconds, and return the answers."""
        answers: list[Answer] = []

        async def call(number: int) -> None:
            answers.append(await self._client.call(self._request))

        await at_rate(RATE, seconds, call)
        self.answers += answers
        return answers

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _judge(report: Report, outage: Outage, before: list[Answer], during: list[Answer], from_: float) -> None:
    answers = [*before, *during]
    report.equal(f"{outage.name}: calls answered", sum(answer.ok for answer in answers), len(answers))
    usual = _p99(before)
    report.figure(f"{outage.name}: p99 before", usual, "ms")
    report.figure(
        f"{outage.name}: p99 of the first second", _p99([each for each in during if each.started < from_]), "ms"
    )
    later = _p99([each for each in during if each.started >= from_])
    report.at_most(f"{outage.name}: p99 after that, more", later - usual, MORE, "ms", full_only=True)


async def _becomes(box: Gateway, metric: str, value: int) -> bool:
    """Wait until a metric has this value; return whether it has."""

    async def becomes() -> bool:
        return await box.metric(metric) == value

    return await until(becomes)


async def _settle(report: Report, box: Gateway, both: Dependencies, calls: Calls) -> None:
    """Compare the records and the budget with the answers."""
    calls.close()
    answered = sum(answer.ok for answer in calls.answers)
    cost = INPUT * answered

    async def recorded() -> bool:
        return _rows(both, "SELECT count(*) FROM calls") == [str(answered)]

    await until(recorded)
    report.equal("records of calls", _rows(both, "SELECT count(*) FROM calls"), [str(answered)])
    report.equal("cost of the records", _rows(both, "SELECT sum(cost_nusd) FROM attempts"), [str(cost)])
    [row] = await box.rows("budgets")
    report.equal("spent in the budget", (round(row["spent_usd"] * NANO), row["reserved_usd"]), (cost, 0.0))
    box.read()
    times = [event["time"][:19] for event in box.events]
    report.at_most("most log lines in a second", max(map(times.count, times)), 10)


def _rows(both: Dependencies, query: str) -> list[str]:
    return both.postgres.execute(both.database, query)


def _p99(answers: list[Answer]) -> float:
    return percentile(sorted(answer.seconds * 1000 for answer in answers), 99)


async def _key(box: Gateway) -> str:
    client: Client = box.client()
    row = {"name": "load", "limits": {"rpm": 10**6, "tpm": 10**9}, "budget": {"usd": 1000.0, "period": "total"}}
    answer = await client.call(request_bytes("POST", "/admin/keys", row, ADMIN))
    client.close()
    key: str = json.loads(answer.body)["key"]
    return key


def _configuration(up: Upstreams, both: Dependencies) -> dict[str, Any]:
    store = f"postgresql://{USER}:{ENCODED}@127.0.0.1:{both.postgres_line.port}/{both.database}"
    return {
        "store": store,
        "state": f"redis://127.0.0.1:{both.redis_line.port}/0",
        "auth": {"mode": "keys", "pepper": "${SIGNALBOX_PEPPER}"},
        "providers": {"up": {"base_url": up.url("up")}},
        "models": [{"id": "up/model", "price": {"input": 1, "output": 0}}],
    }


@asynccontextmanager
async def _dependencies(programs: Path) -> AsyncIterator[Dependencies]:
    postgres = Postgres(programs)
    with tempfile.TemporaryDirectory(prefix="signalbox-load-") as folder:
        redis = RedisServer(free_port(), Path(folder))
        try:
            await asyncio.to_thread(redis.start)
            await asyncio.to_thread(postgres.start)
            database = await asyncio.to_thread(postgres.create)
            location = locate(postgres.url(database), "")
            assert location is not None
            await migrate_to(location, None)
            async with Line(redis.port) as to_redis, Line(postgres.port) as to_postgres:
                yield Dependencies(redis, to_redis, postgres, to_postgres, database)
        finally:
            for server in (redis, postgres):
                with contextlib.suppress(Exception):
                    server.thaw()
            redis.stop()
            await asyncio.to_thread(postgres.remove)
