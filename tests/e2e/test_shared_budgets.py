"""One budget over three processes and Redis, with the upstream's log as the truth; and what an outage of Redis does."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.boxes import ADMIN, boxed
from tests.support.redis_server import RedisServer, redis_server_at
from tests.support.redis_server import shared_redis as shared_redis
from tests.support.servers import signalbox_process, without_breakers
from tests.support.upstreams import DONE, FINISH, ROLE, Upstream, Wire, chunk, completion, plain, refuse, running, words
from tests.support.waiting import PATIENCE, until

USAGE = {"prompt_tokens": 7, "completion_tokens": 60, "total_tokens": 67}
CALL_USD = (7 * 100 + 60 * 200) / 1e6
CUT_USD = (7 * 100 + 2 * 200) / 1e6  # of a stream whose client left after two words
CAP = 1.0
KINDS = {"whole": CALL_USD, "stream": CALL_USD, "left": CUT_USD, "failed": 0.0}

pytestmark = pytest.mark.anyio


async def streamed(wire: Wire) -> None:
    """A whole stream with usage."""
    await wire.head()
    for event in [ROLE, *words("x"), FINISH, chunk(usage=USAGE), DONE]:
        await wire.send(event)
    await wire.end()


async def left(wire: Wire) -> None:
    """A stream that its client leaves."""
    await wire.head()
    for event in [ROLE, *words("x", 2)]:
        await wire.send(event)
    await wire.stall()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with running(Upstream()) as found:
        found.script("whole", plain(json.dumps(completion("hi") | {"usage": USAGE}).encode()))
        found.script("stream", streamed)
        found.script("left", left)
        found.script("failed", refuse(500))
        yield found


def configuration(url: str, **more: Any) -> dict[str, Any]:
    return {
        "auth": {"admin_token": "admin"},
        "providers": {"up": {"base_url": url, "keys": [{"id": "one", "value": "sk-one-00000000"}]}},
        "models": [{"id": f"up/{kind}", "price": {"input": 100, "output": 200}, "max_output": 100} for kind in KINDS],
        "budgets": [{"scope": "total", "usd": CAP}],
        "resilience": without_breakers(attempts=1),
        **more,
    }


def client() -> httpx.AsyncClient:
    """A client with a connection for each call: one that is kept may expire at the moment of its use."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    return httpx.AsyncClient(trust_env=False, timeout=PATIENCE, limits=limits)


async def ask(http: httpx.AsyncClient, url: str, kind: str, **more: Any) -> int:
    """Make one call and return its status; one of the kind `left` ends at the second word."""
    body = {"model": f"up/{kind}", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 100, **more}
    body["stream"] = kind in ("stream", "left")
    async with http.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
        async for line in response.aiter_lines():
            if kind == "left" and "x1" in line:
                return response.status_code
    return response.status_code


async def spending(http: httpx.AsyncClient, url: str) -> tuple[float, float]:
    [row] = (await http.get(f"{url}/admin/budgets", headers=ADMIN)).json()["data"]
    return row["spent_usd"], row["reserved_usd"]


async def test_concurrent_calls_over_three_processes_stay_within_the_budget(
    tmp_path: Path, upstream: Upstream, shared_redis: RedisServer
) -> None:
    shared_redis.command("FLUSHALL")
    config = configuration(upstream.url, state=shared_redis.url, store="none")
    with ExitStack() as stack:
        urls = []
        for number in range(3):
            folder = tmp_path / str(number)
            folder.mkdir()
            urls.append(stack.enter_context(signalbox_process(config, folder)).url)
        async with client() as http:
            statuses: Counter[int] = Counter()
            for _ in range(2):
                async with asyncio.TaskGroup() as group:
                    turns = zip(range(200), cycle(urls), cycle(["whole", "stream", "whole", "left", "failed"]))
                    tasks = [group.create_task(ask(http, url, kind)) for _, url, kind in turns]
                statuses.update(task.result() for task in tasks)
            async with asyncio.timeout(PATIENCE):  # the calls that clients left are settled a moment later
                while (await spending(http, urls[0]))[1]:
                    pass
            for url in cycle(urls):
                statuses[status := await ask(http, url, "whole")] += 1
                if status != 200:
                    break
            truth = sum(KINDS[request.model] for request in upstream.requests)
            spent, reserved = await spending(http, urls[1])
            fitting = [await ask(http, url, "whole", max_tokens=1) for url in urls[:1]]

    assert set(statuses) == {200, 429, 502}
    assert truth <= CAP
    assert spent <= CAP
    assert spent >= truth  # an estimate counts at least what was sent
    assert reserved == 0
    assert fitting == [200]


@pytest.mark.parametrize(("policy", "status"), [("open", 200), ("closed", 503)])
def test_an_outage_of_redis_is_survived_as_configured(
    tmp_path: Path, upstream: Upstream, policy: str, status: int
) -> None:
    more = {"store": "sqlite", "dependencies": {"state": {"fail": policy}}}
    with redis_server_at(tmp_path) as server:
        config = configuration(upstream.url, state=server.url, **more)
        with boxed(tmp_path, config) as box:

            def spent() -> float:
                row = box.http.get(f"{box.url}/admin/budgets", headers=ADMIN).json()["data"][0]
                amount: float = row["spent_usd"]
                return amount

            assert box.ask("up/whole", max_tokens=100).status_code == 200
            server.stop()
            until(lambda: box.metric("signalbox_state_degraded") == 1)
            until(lambda: spent() == pytest.approx(CALL_USD, abs=1e-9))  # of the records
            during = box.ask("up/whole", max_tokens=100)
            server.start()  # empty
            until(lambda: box.metric("signalbox_state_degraded") == 0)
            after = box.ask("up/whole", max_tokens=100)
            total = until(lambda: spent() if spent() >= CALL_USD * len(upstream.requests) - 1e-9 else None)

    assert (during.status_code, after.status_code) == (status, 200)
    if status == 503:
        assert during.json()["error"]["code"] == "overloaded"
    assert total == pytest.approx(CALL_USD * len(upstream.requests), abs=1e-9)
