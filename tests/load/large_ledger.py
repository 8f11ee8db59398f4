"""A ledger of ten million calls: reports of usage within a second, and a retention that does not stall writers.

The calls are inserted by SQL, evenly over `DAYS` days, on SQLite and, where it is installed, on PostgreSQL. Then
reports are read, and records are written first alone, then beside the retention, which deletes the older half of the
attempts and calls for at most `--seconds`. `--calls` is the number of calls.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.core.clock import SystemClock
from proxy.core.ledger import AttemptRow, CallRow
from proxy.core.location import locate
from proxy.store.database import Database
from proxy.store.ledger import LedgerStore
from proxy.store.migrate import migrate_to
from proxy.store.retention import Retention
from proxy.store.schema import DIMENSIONS, MEASURES
from proxy.store.sums import DAY, HOUR
from tests.load.harness import Options, now, postgresql
from tests.load.report import Report, percentile

SHORT_FORM = Options(calls=3_000)

CALLS = 10_000_000
PIECE = 20_000  # records that one statement inserts, which must not take long
SECONDS = 20.0
DAYS = 60
KEYS = 500  # of 100 users and 10 teams, with two models each
BATCH = 50  # records of one write
PERIOD = 0.05  # seconds between two writes
LONGEST_REPORT = 1.0  # seconds
LONGEST_WRITE = 0.25  # seconds of the p99
REPORTS: dict[str, tuple[Sequence[str], dict[str, Any], int]] = {  # groups, filters, days
    "total of 60 days": ((), {}, 60),
    "by day, 60 days": (("day",), {}, 60),
    "by key and model, 30 days": (("key", "model"), {}, 30),
    "by user and day, 30 days": (("user", "day"), {}, 30),
    "by hour, 7 days": (("hour",), {}, 7),
    "by hour of a user, 30 days": (("hour",), {"user": "user_7"}, 30),
}
_KEY, _MODEL = f"(n * 7919 % {KEYS})", f"(n * 7919 % 5 + n / {KEYS} % 2)"
_OWNER = f"'key_' || {_KEY}, 'user_' || {_KEY} % 100, 'team_' || {_KEY} % 10"
_NUMBERS = "WITH RECURSIVE x(n) AS (SELECT CAST({first} AS bigint) UNION ALL SELECT n + 1 FROM x WHERE n + 1 < {end})"
_TIME = "{start} + (n - {first}) * {step} + {step} / 2"
_ROWS = (
    f"""INSERT INTO calls (id, request_id, time, endpoint, key_id, user_id, team_id, model, route, provider,
    upstream_model, stream, status, outcome, attempts, input_tokens, cached_tokens, output_tokens, reasoning_tokens,
    cost_nusd, cost_status, ms, queue_ms, cache)
    {_NUMBERS} SELECT 'req_' || n, 'client-' || n, {_TIME}, 'chat', {_OWNER}, 'tier/low', 'tier/low', 'acme',
    'model_' || {_MODEL}, true, 200, 'ok', 1, 100, 0, 20, 0, 1000, 'exact', 800, 0, 'bypass' FROM x""",
    f"""INSERT INTO attempts (id, call_id, number, time, provider, model, outcome, status, input_tokens, cached_tokens,
    cache_write_tokens, cache_write_1h_tokens, output_tokens, reasoning_tokens, audio_tokens, image_tokens, cost_nusd,
    cost_status, own_key, key_id, user_id, team_id, route)
    {_NUMBERS} SELECT 'req_' || n || '-1', 'req_' || n, 1, {_TIME}, 'acme', 'model_' || {_MODEL}, 'ok', 200, 100, 0, 0,
    0, 20, 0, 0, 0, 1000, 'exact', false, {_OWNER}, 'tier/low' FROM x""",
)
_SUMS = tuple(
    f"""INSERT INTO {table} (slot, {", ".join((*DIMENSIONS, *MEASURES))})
    SELECT time - time % {slot}, key_id, user_id, team_id, provider, model, route, count(*), 0, count(*),
    sum(input_tokens), 0, 0, sum(output_tokens), 0, 0, sum(cost_nusd), 0 FROM attempts
    WHERE time >= {{start}} AND time < {{start}} + {DAY} GROUP BY 1, 2, 3, 4, 5, 6, 7"""
    for table, slot in (("usage_hours", HOUR), ("usage_days", DAY))
)


async def check(report: Report, options: Options) -> None:
    """Fill each database, and measure."""
    with tempfile.TemporaryDirectory(prefix="signalbox-ledger-") as folder:
        await _on(report, options, f"sqlite:///{folder}/signalbox.db")
    async with postgresql() as found:
        if found is None:
            report.note("PostgreSQL is not installed: skipped")
        else:
            server, name = found
            await _on(report, options, server.url(name))


async def _on(report: Report, options: Options, store: str) -> None:
    location = locate(store, "")
    assert location is not None
    await migrate_to(location, None)
    clock, a_day = SystemClock(), (options.calls or CALLS) // DAYS
    end = int(clock.time() * 1_000_000) // DAY * DAY  # the last midnight
    database = Database(location, clock)
    async with database.running():
        began = now()
        for day in range(DAYS):
            await _fill(database, day * a_day, a_day, end - (DAYS - day) * DAY)
        report.figure(f"{location.kind}: seconds to insert {a_day * DAYS} calls", round(now() - began))
        ledger = LedgerStore(database)
        await _read(report, location.kind, ledger, end, a_day)
        deleted = await _delete(report, location.kind, database, clock.time() - end / 1_000_000, options)
        [row] = await ledger.usage([], {}, 0, end)
    if deleted is not None:
        report.equal(f"{location.kind}: attempts and calls deleted", deleted, a_day * DAYS)
    report.equal(f"{location.kind}: calls in the sums after that", row["requests"], a_day * DAYS)


async def _fill(database: Database, first: int, count: int, start: int) -> None:
    """Insert the calls of one day."""
    step = DAY // count
    for at in range(0, count, PIECE):
        places = {"first": first + at, "end": first + min(at + PIECE, count), "start": start + at * step, "step": step}
        for statement in _ROWS:
            await database.write(partial(_execute, statement=statement.format(**places)))
    for statement in _SUMS:
        await database.write(partial(_execute, statement=statement.format(start=start)))


async def _execute(connection: AsyncConnection, statement: str) -> None:
    await connection.exec_driver_sql(statement)


async def _read(report: Report, kind: str, ledger: LedgerStore, end: int, a_day: int) -> None:
    for name, (groups, filters, days) in REPORTS.items():
        seconds, rows = [], list[dict[str, Any]]()
        for _ in range(3):
            began = now()
            rows = await ledger.usage(groups, filters, end - days * DAY, end)
            seconds.append(now() - began)
        report.at_most(f"{kind}: {name}", sorted(seconds)[1], LONGEST_REPORT, "s", full_only=True)
        if not filters:
            report.equal(f"{kind}: {name}: calls", sum(row["requests"] for row in rows), days * a_day)
    for name, hours in (("by minute, an hour", 1), ("by minute, a day", 24)):
        began = now()
        await ledger.usage(["minute"], {}, end - hours * HOUR, end)
        report.figure(f"{kind}: {name}", now() - began, "s")


async def _delete(report: Report, kind: str, database: Database, today: float, options: Options) -> int | None:
    """Write records alone, and beside the retention; return how many rows it deleted, `None` if it was stopped.

    `today` is the age of the last midnight in seconds.
    """
    seconds, deleted = options.seconds or SECONDS, None
    kept = DAYS / 2 * 86_400 + today
    retention = Retention(database, lambda: kept, lambda: None, SystemClock(), random.Random(options.seed))
    async with _writing(report, kind, "alone", database):
        await asyncio.sleep(min(seconds, 5.0) if options.calls is None else 5 * PERIOD)
    async with _writing(report, kind, "beside the retention", database):
        try:
            async with asyncio.timeout(seconds):
                deleted = await retention.delete_old()
        except TimeoutError:
            report.note(f"{kind}: the retention was stopped after {seconds:g} s")
    return deleted


@asynccontextmanager
async def _writing(report: Report, kind: str, name: str, database: Database) -> AsyncIterator[None]:
    """Write records all the time, and report how long that took."""
    ledger, times = LedgerStore(database), list[float]()

    async def write() -> None:
        while True:
            calls, attempts = _records(f"{name}-{len(times)}")
            began = now()
            await ledger.write(calls, attempts)
            times.append(now() - began)
            await asyncio.sleep(PERIOD)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(write())
        yield
        task.cancel()
    report.figure(f"{kind}: median write {name}", percentile(sorted(times), 50) * 1000, "ms")
    p99 = percentile(sorted(times), 99) * 1000
    report.at_most(f"{kind}: p99 of {len(times)} writes {name}", p99, LONGEST_WRITE * 1000, "ms", full_only=True)


def _records(name: str) -> tuple[list[CallRow], list[AttemptRow]]:
    """Return records of now."""
    time = int(SystemClock().time() * 1_000_000)
    owner: dict[str, Any] = {"key_id": "key_1", "user": "user_1", "team": "team_1", "route": "tier/low"}
    ids = [f"{name}-{number}" for number in range(BATCH)]
    calls = [CallRow(id=id, request_id="x", time=time, endpoint="chat", status=200, **owner) for id in ids]
    attempts = [
        AttemptRow(
            id=f"{id}-1", call_id=id, number=1, time=time, provider="acme", model="model_1", provider_key="main",
            outcome="ok", cost_nusd=1000, **owner,
        )
        for id in ids
    ]  # fmt: skip
    return calls, attempts
