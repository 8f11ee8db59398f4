"""Every answered call, and every request that the upstream has received, has one record, whatever ends the process."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from sqlalchemy import text

from proxy.core.clock import SystemClock
from proxy.core.location import locate
from proxy.ledger.journal import read_segment
from proxy.store.database import Database
from tests.support.servers import Process, signalbox, signalbox_process
from tests.support.upstreams import DONE, FINISH, ROLE, Upstream, held, refuse, words
from tests.support.waiting import PATIENCE, until

KILLS = 2
CLIENTS = 6
MODELS = ["up/plain", "up/stream", "scenario/fallback"]


class Row(NamedTuple):
    """A call in the database."""

    request_id: str
    outcome: str
    status: int
    attempts: int
    cost_nusd: int | None


def configuration(url: str, store: str, **more: Any) -> dict[str, Any]:
    """A provider; a scenario whose first target always fails."""
    names = ("up/plain", "up/stream", "up/failing", "up/held")
    return {
        "store": store,
        "providers": {"up": {"base_url": url}},
        "models": [{"id": name, "price": {"input": 1, "output": 2}} for name in names],
        "routing": {"scenarios": {"fallback": ["up/failing", "up/plain"]}},
        "resilience": {
            "breaker": {"consecutive": 100_000, "window_failures": 100_000},
            "retry": {"same_target": 0, "budget": {"floor": 1000}},
        },
        "logs": {"access": False},
        **more,
    }


def rows(url: str, query: str) -> list[Any]:
    """The rows of a query."""

    async def read() -> list[Any]:
        location = locate(url, "")
        assert location is not None
        database = Database(location, SystemClock())
        async with database.running():
            return await database.read(lambda connection: _fetched(connection, query))

    return asyncio.run(read())


async def _fetched(connection: Any, query: str) -> list[Any]:
    return list((await connection.execute(text(query))).all())


def recorded(url: str) -> list[Row]:
    """All calls in the database."""
    return [Row(*row) for row in rows(url, "SELECT request_id, outcome, status, attempts, cost_nusd FROM calls")]


def attempts(url: str) -> Counter[str]:
    """The attempts of each call by the client's id."""
    query = "SELECT calls.request_id FROM attempts JOIN calls ON attempts.call_id = calls.id"
    return Counter(row[0] for row in rows(url, query))


class Clients:
    """Clients that send numbered calls until the server is gone."""

    def __init__(self) -> None:
        self.answered: dict[str, int] = {}  # number of a call: status of the whole answer
        self._numbers = count(1)
        self._lock = threading.Lock()

    @contextmanager
    def calling(self, url: str) -> Iterator[None]:
        """Call until the block has ended, or the server does not answer."""
        over = threading.Event()
        threads = [threading.Thread(target=self._call, args=(url, over), daemon=True) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join(PATIENCE)

    def _call(self, url: str, over: threading.Event) -> None:
        with httpx.Client(trust_env=False, timeout=PATIENCE) as http:
            try:
                while not over.is_set():
                    with self._lock:
                        number = f"n{next(self._numbers)}"
                    model = MODELS[int(number[1:]) % len(MODELS)]
                    self.answered[number] = status = ask(http, url, number, model)
                    if status == 503:
                        return  # it drains
            except httpx.HTTPError:
                pass  # it was killed


def ask(http: httpx.Client, url: str, number: str, model: str) -> int:
    """Make a call; return the status of its whole answer."""
    messages = [{"role": "user", "content": "hi"}]
    body = {"model": model, "messages": messages, "stream": model == "up/stream"}
    headers = {"x-request-id": number, "idempotency-key": number}
    answer = http.post(f"{url}/v1/chat/completions", json=body, headers=headers)
    if answer.is_success and body["stream"] and not answer.text.endswith("data: [DONE]\n\n"):
        raise httpx.RemoteProtocolError("the stream ended early")
    return answer.status_code


def received(upstream: Upstream) -> Counter[str]:
    """How often the upstream has received each call."""
    return Counter(request.headers["idempotency-key"] for request in upstream.requests)


def problems(store: str, clients: Clients, upstream: Upstream) -> list[str]:
    """What is wrong with the records."""
    calls, found = recorded(store), []
    by_number = Counter(row.request_id for row in calls)
    outcomes = {row.request_id: row for row in calls}
    tried = attempts(store)
    found += [f"{number} is recorded {times} times" for number, times in by_number.items() if times != 1]
    for number, status in clients.answered.items():
        row = outcomes.get(number)
        if row is None:
            found.append(f"{number} was answered and is not recorded")
        elif row.status != status and row.outcome != "unknown":
            found.append(f"{number} was answered with {status} and is recorded with {row.status}")
    for number, times in received(upstream).items():
        if number not in outcomes:
            found.append(f"{number} was received upstream and is not recorded")
        elif tried[number] < times:
            found.append(f"{number} was received {times} times and has {tried[number]} attempts")
    return found


def started(process: Process) -> None:
    """Wait until the server has answered once, which is not recorded."""
    until(lambda: httpx.get(f"{process.url}/livez", timeout=PATIENCE, trust_env=False).is_success)


@pytest.fixture
def failing(upstream: Upstream) -> Upstream:
    """An upstream that rejects the model `failing`."""
    upstream.script("failing", refuse(500))
    return upstream


def number_of_calls(store: str) -> int:
    return int(rows(store, "SELECT count(*) FROM calls")[0][0])


@pytest.mark.timeout(240)  # it starts several processes
def test_kills_lose_and_double_nothing(failing: Upstream, store_url: str, tmp_path: Path) -> None:
    clients, chance = Clients(), random.Random(5)
    config = configuration(failing.url, store_url)

    for _ in range(KILLS):
        with signalbox_process(config, tmp_path) as process, clients.calling(process.url):
            wanted = len(clients.answered) + chance.randint(5, 60)
            until(lambda wanted=wanted: len(clients.answered) >= wanted)  # type: ignore[misc]
            process.popen.kill()
            process.popen.wait(PATIENCE)
    with signalbox_process(config, tmp_path) as process:
        started(process)
        until(lambda: not list((tmp_path / "data" / "journal").glob("*/*.log")))

    assert problems(store_url, clients, failing) == []
    assert {row.outcome for row in recorded(store_url)} <= {"ok", "unknown", "error"}
    assert sum(row.outcome == "unknown" for row in recorded(store_url)) <= KILLS * CLIENTS


@pytest.mark.timeout(120)
def test_shutdown_loses_nothing(failing: Upstream, sqlite_url: str, tmp_path: Path) -> None:
    clients = Clients()
    config = configuration(failing.url, sqlite_url)

    with signalbox_process(config, tmp_path) as process, clients.calling(process.url):
        until(lambda: len(clients.answered) >= 60)
        process.popen.send_signal(signal.SIGTERM)
        code = process.popen.wait(PATIENCE)

    assert code == 0
    assert problems(sqlite_url, clients, failing) == []
    assert {(row.outcome, row.status) for row in recorded(sqlite_url)} <= {("ok", 200), ("error", 503)}  # draining
    assert {row.attempts for row in recorded(sqlite_url) if row.outcome == "ok"} == {1, 2}
    assert list((tmp_path / "data" / "journal").glob("journal-*")) == []


@pytest.mark.timeout(120)
def test_a_killed_worker_is_recovered_by_another(failing: Upstream, sqlite_url: str, tmp_path: Path) -> None:
    clients = Clients()
    config = configuration(failing.url, sqlite_url, server={"workers": 2})

    with signalbox_process(config, tmp_path) as process, clients.calling(process.url):
        until(lambda: len(clients.answered) >= 40)
        parent = process.popen.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        log = process.log
        until(lambda: "a journal was recovered" in log.read_text())
        answered_then = len(clients.answered)
        process.popen.send_signal(signal.SIGTERM)
        code = process.popen.wait(PATIENCE)

    assert code == 0
    assert answered_then >= 40
    assert problems(sqlite_url, clients, failing) == []


@pytest.mark.parametrize(("policy", "status"), [("closed", 503), ("open", 200)])
def test_calls_that_cannot_be_recorded_are_handled_by_policy(
    upstream: Upstream, sqlite_url: str, tmp_path: Path, http: httpx.Client, policy: str, status: int
) -> None:
    (tmp_path / "data").mkdir()
    blocker = tmp_path / "data" / "journal"
    blocker.write_text("in the way")
    config = configuration(upstream.url, sqlite_url, dependencies={"store": {"fail": policy}})

    with signalbox(config, tmp_path) as box:
        blocked = ask(http, box.url, "n1", "up/plain")
        sent = len(upstream.requests)
        alarm = "signalbox_ledger_unjournaled_total 0.0" not in http.get(f"{box.url}/metrics").text
        blocker.unlink()
        after = ask(http, box.url, "n2", "up/plain")
    calls = sorted(recorded(sqlite_url))

    assert (blocked, sent, after) == (status, int(policy == "open"), 200)
    assert alarm
    assert [(row.request_id, row.status) for row in calls] == [("n1", status), ("n2", 200)]


def test_the_row_is_in_the_journal_before_the_end_of_a_stream(
    upstream: Upstream, sqlite_url: str, tmp_path: Path
) -> None:
    upstream.script("held", held([ROLE, *words("w")], [FINISH, DONE]))
    body = {"model": "up/held", "messages": [{"role": "user", "content": "hi"}], "stream": True}

    with (
        signalbox_process(configuration(upstream.url, sqlite_url), tmp_path) as process,
        httpx.Client(trust_env=False, timeout=PATIENCE) as http,
        http.stream("POST", f"{process.url}/v1/chat/completions", json=body) as answer,
    ):
        lines = answer.iter_lines()
        next(line for line in lines if "w2" in line)
        os.kill(process.popen.pid, signal.SIGSTOP)
        before = kinds(tmp_path)
        os.kill(process.popen.pid, signal.SIGCONT)
        upstream.next().release()
        next(line for line in lines if "[DONE]" in line)
        after = kinds(tmp_path)

    assert (before, after) == ("I", "IO")


def kinds(folder: Path) -> str:
    """The kinds of the records in the journal."""
    paths = sorted((folder / "data" / "journal").glob("*/*.log"))
    return b"".join(payload[:1] for path in paths for payload in read_segment(path)).decode()
