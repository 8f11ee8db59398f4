"""PostgreSQL is migrated down and up again while `signalbox serve` is under load: no call fails, no record is lost.

Revisions are undone one after the other by `signalbox migrate`, and done again in one step; the last one once more.
Meanwhile records wait in the journal.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

from proxy.core.location import locate
from proxy.store.migrate import migrate_to
from proxy.store.migrations import known
from tests.load.client import at_rate, chat_body, request_bytes
from tests.load.harness import ROOT, Gateway, Options, gateway, postgresql, until, upstreams
from tests.load.report import Report
from tests.support.databases import Postgres

RATE = 50.0
LOWEST = "0004"  # below it, tables with records would be deleted
PAUSE = 1.5  # seconds between two migrations
NANO = 10**9
INPUT = 7000  # nano-dollars of an answer: seven tokens at a dollar a million
WITHIN = 30.0  # seconds in which all records are stored after the last migration


async def check(report: Report, options: Options) -> None:
    """Down step by step, up at once, and the last step down and up again."""
    async with postgresql() as found:
        if found is None:
            report.note("PostgreSQL is not installed: skipped")
        else:
            await _on(report, *found)


async def _on(report: Report, postgres: Postgres, database: str) -> None:
    location = locate(postgres.url(database), "")
    assert location is not None
    await migrate_to(location, None)
    revisions = [revision for revision in known() if revision >= LOWEST]
    steps = [*revisions[-2::-1], revisions[-1], revisions[-2], revisions[-1]]
    async with upstreams("up") as up:
        config = {
            "store": postgres.url(database),
            "providers": {"up": {"base_url": up.url("up")}},
            "models": [{"id": "up/model", "price": {"input": 1, "output": 0}}],
            "budgets": [{"scope": "total", "usd": 1000, "period": "total"}],
        }
        async with gateway(config) as box:
            statuses, codes = await _drive(box, steps)
            answered = statuses[200]
            report.figure("answers", answered)
            report.equal("calls that failed", sum(statuses.values()) - answered, 0)
            report.equal("migrations that failed", sum(code != 0 for code in codes), 0)

            async def stored() -> bool:
                return postgres.execute(database, "SELECT count(*) FROM calls") == [str(answered)]

            await until(stored, WITHIN)
            count = postgres.execute(database, "SELECT count(*) FROM calls")
            cost = postgres.execute(database, "SELECT sum(cost_nusd) FROM attempts")
            report.equal("records of calls", count, [str(answered)])
            report.equal("nano-dollars of the records", cost, [str(INPUT * answered)])
            report.equal("requests upstream", len(await up.log()), answered)
            [row] = await box.rows("budgets")
            report.equal("spent in the budget", round(row["spent_usd"] * NANO), INPUT * answered)
            box.read()
            times = [event["time"][:19] for event in box.events]
            report.at_most("most log lines in a second", max(map(times.count, times), default=0), 10)


async def _drive(box: Gateway, steps: list[str]) -> tuple[Counter[int], list[int]]:
    """Migrate under load; return the statuses of the calls and the exit codes of the migrations."""
    client, statuses, codes = box.client(10.0), Counter[int](), list[int]()
    request = request_bytes("POST", "/v1/chat/completions", chat_body("up/model", max_tokens=10))
    done = asyncio.Event()

    async def call(_: int) -> None:
        statuses[(await client.call(request)).status] += 1

    async def load() -> None:
        while not done.is_set():
            await at_rate(RATE, 1.0, call)

    async with asyncio.TaskGroup() as group:
        group.create_task(load())
        await asyncio.sleep(PAUSE)
        for step in steps:
            codes.append(await _migrate(box, step))
            await asyncio.sleep(PAUSE)
        done.set()
    client.close()
    return statuses, codes


async def _migrate(box: Gateway, revision: str) -> int:
    command = [sys.executable, "-m", "proxy", "migrate", "--to", revision, "--config", str(box.config)]
    pipe = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=pipe, stderr=pipe)
    return await process.wait()
