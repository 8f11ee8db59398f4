"""kill -9 fifty times under 100 calls a second: every answer and every upstream request has one record, none two.

The clients' answers and the upstream's own log are the truth that the database is compared with, on SQLite and, where
it is installed, on PostgreSQL. After the last kill the service starts once more and recovers what the journals have.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy import text

from proxy.core.clock import SystemClock
from proxy.core.location import locate
from proxy.store.database import Database
from tests.load.client import Answer, Client, at_rate, chat_body, request_bytes
from tests.load.harness import Options, Upstreams, gateway, postgresql, until, upstreams
from tests.load.report import Report
from tests.load.scripted import Behaviour, Seen

KILLS = 50
RATE = 100.0  # calls a second
SHORTEST, LONGEST = 0.3, 1.5  # seconds between the first call and the kill


async def check(report: Report, options: Options) -> None:
    """Kill the service again and again, on each database."""
    with tempfile.TemporaryDirectory(prefix="signalbox-ledger-") as folder:
        await _on(report, options, "sqlite", f"sqlite:///{folder}/signalbox.db")
    async with postgresql() as found:
        if found is None:
            report.note("PostgreSQL is not installed: skipped")
            return
        url = found[0].url(found[1])
        from proxy.store.migrate import migrate_to

        location = locate(url, "")
        assert location is not None
        await migrate_to(location, None)
        await _on(report, options, "postgresql", url)


async def _on(report: Report, options: Options, name: str, store: str) -> None:
    chance, calls = random.Random(options.seed), Calls()
    kills = options.calls or KILLS
    async with upstreams("good", "bad") as up:
        await up.seed(options.seed)
        await up.behave("bad", Behaviour(status=500, weight=1), Behaviour(end="fin", after=1, weight=1))
        await up.behave("good", Behaviour(pace=0.005, weight=3), Behaviour(weight=1))
        with tempfile.TemporaryDirectory(prefix="signalbox-ledger-") as folder:
            config = configuration(up, store, folder)
            for _ in range(kills):
                async with gateway(config) as box:
                    seconds = chance.uniform(SHORTEST, LONGEST)
                    async with asyncio.TaskGroup() as group:
                        group.create_task(calls.drive(box.client(5.0), seconds + 0.2))
                        await asyncio.sleep(seconds)
                        box.process.kill()
                        await box.process.wait()
            async with gateway(config):
                journal = Path(folder, "data", "journal")
                await until(lambda: _is_empty(journal))
        log = await up.log()
    _judge(report, name, calls, log, await _rows(store))


def configuration(up: Upstreams, store: str, folder: str) -> dict[str, Any]:
    """Half of the calls meet a provider that fails, before the one that answers."""
    return {
        "store": store,
        "data_dir": f"{folder}/data",
        "providers": {name: {"base_url": up.url(name)} for name in up.names},
        "models": [{"id": f"{name}/model", "price": {"input": 1, "output": 2}} for name in up.names],
        "routing": {"scenarios": {"one": ["good/model"], "two": ["bad/model", "good/model"]}},
        "resilience": {
            "breaker": {"consecutive": 100_000, "window_failures": 100_000},
            "retry": {"same_target": 0, "budget": {"floor": 1000}},
        },
    }


class Calls:
    """Numbered calls, and what clients received for them."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self._number = 0

    async def drive(self, client: Client, seconds: float) -> None:
        """Make calls at the rate for so long."""

        async def one(_: int) -> None:
            self._number += 1
            number, model = f"n{self._number}", f"scenario/{'one' if self._number % 2 else 'two'}"
            stream = self._number % 3 > 0
            body = chat_body(model, number, stream=stream)
            request = request_bytes("POST", "/v1/chat/completions", body, {"x-request-id": number})
            self.answers[number] = await client.call(request, stream=stream)

        await at_rate(RATE, seconds, one)
        client.close()


async def _is_empty(journal: Path) -> bool:
    return not await asyncio.to_thread(lambda: [path for path in journal.glob("*/*.log") if path.stat().st_size > 8])


async def _rows(store: str) -> list[tuple[str, str, int, int]]:
    """Return request id, outcome, status and number of attempts of every call in the database."""
    location = locate(store, "")
    assert location is not None
    database = Database(location, SystemClock())
    query = "SELECT request_id, outcome, status, (SELECT count(*) FROM attempts WHERE call_id = calls.id) FROM calls"
    async with database.running():

        async def read(connection: Any) -> list[tuple[str, str, int, int]]:
            return [(*row,) for row in (await connection.execute(text(query))).all()]

        return await database.read(read)


def _judge(report: Report, name: str, calls: Calls, log: list[Seen], rows: list[tuple[str, str, int, int]]) -> None:
    times = Counter(number for number, *_ in rows)
    records = {number: (outcome, status, attempts) for number, outcome, status, attempts in rows}
    whole = [number for number, answer in calls.answers.items() if answer.looks_whole]
    received = Counter(seen.call for seen in log)
    report.figure(f"{name}: calls", len(calls.answers))
    report.figure(f"{name}: answered whole", len(whole))
    report.figure(f"{name}: received upstream", sum(received.values()))
    report.figure(f"{name}: records of unknown outcome", sum(outcome == "unknown" for _, outcome, *_ in rows))
    report.equal(f"{name}: calls recorded twice", sum(count > 1 for count in times.values()), 0)
    report.equal(f"{name}: whole answers without a record", sum(number not in records for number in whole), 0)
    right = (("ok", 200), ("unknown", 0))
    wrong = [number for number in whole if number in records and records[number][:2] not in right]
    report.equal(f"{name}: whole answers with another outcome", len(wrong), 0)
    report.equal(f"{name}: upstream requests without a record", len(received.keys() - records.keys()), 0)
    few = [number for number, count in received.items() if number in records and records[number][2] < count]
    report.equal(f"{name}: calls with fewer attempts than requests", len(few), 0)
