"""Three replicas with one Redis and clocks 30 s apart: a limit and a budget hold exactly, also when one is killed.

A key with 600 requests a minute is offered more than that at all three: by the upstream's log no minute has more, and
at most 1 % is lost. Then 200 calls at once, again and again, use up a budget of 1.00 USD: whole answers, streams,
clients that leave, errors and streams that break, and in the middle one replica is killed. What is committed never
exceeds the budget, what the killed one had reserved returns within its lease, and a call that fits is admitted.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from proxy.capacity.budgets import LEASE_SECONDS
from tests.load.client import at_rate, chat_body, request_bytes
from tests.load.harness import ADMIN, Gateway, Options, Upstreams, gateway, until, upstreams
from tests.load.report import Report
from tests.load.scripted import Behaviour, Seen, usage
from tests.support.redis_server import REDIS, redis_server_at

SHORT_FORM = Options(calls=30, seconds=2.0)

RPM = 600
SECONDS = 185.0  # three windows, and a little more
OFFERED = 4.0  # times the limit
MINUTE = 60.0
LEAST = 0.99  # of the limit
SKEWS = (-30.0, 0.0, 30.0)  # seconds
CAP = 10**9  # nano-dollars
INPUT, OUTPUT = 100_000, 2_000_000  # nano-dollars a token
CALLS = 200
WAVES = 4
KILLED = 0  # the wave in which a replica is killed, with calls in progress
BEGUN = 6  # requests upstream of that wave before it is killed
FITS = 45_000_000  # nano-dollars: the most that one call may cost
SHAPES = ("whole", "stream", "slow", "left", "error", "cut")
MODELS = {
    "whole": Behaviour(words=5),
    "stream": Behaviour(words=5),
    "slow": Behaviour(words=5, pace=0.1),
    "left": Behaviour(words=5, pace=0.3),
    "error": Behaviour(status=500),
    "cut": Behaviour(words=5, end="fin", after=2),
}


async def check(report: Report, options: Options) -> None:
    """First the limit, then the budget."""
    if REDIS is None:
        report.note("Redis is not installed: skipped")
        return
    short = options == SHORT_FORM
    async with upstreams("up") as up, _replicas(up) as boxes:
        await _limit(report, boxes, up, options.seconds or SECONDS, short=short)
        for model, behaviour in MODELS.items():
            await up.behave("up", behaviour, model=model)
        await _budget(report, boxes, up, options.calls or CALLS, short=short)


@asynccontextmanager
async def _replicas(up: Upstreams) -> AsyncIterator[list[Gateway]]:
    with tempfile.TemporaryDirectory(prefix="signalbox-load-") as folder, redis_server_at(Path(folder)) as redis:
        config = {
            "server": {"keep_alive": "10m"},  # longer than an idle connection of the client lasts
            "store": f"sqlite:///{folder}/signalbox.db",
            "state": redis.url,
            "auth": {"mode": "keys", "pepper": "${SIGNALBOX_PEPPER}"},
            "providers": {"up": {"base_url": up.url("up")}},
            "models": [
                {"id": "up/free", "price": {"input": 0, "output": 0}},
                *({"id": f"up/{name}", "price": {"input": 100, "output": 2000}, "max_output": 10} for name in MODELS),
            ],
            "budgets": [{"scope": "total", "usd": CAP / 10**9, "period": "total"}],
            "resilience": {
                "breaker": {"consecutive": 10_000, "window_failures": 10_000},
                "retry": {"attempts": 1, "same_target": 0},
            },
        }
        async with AsyncExitStack() as stack:
            environ = {"SIGNALBOX_PEPPER": "p" * 32}
            yield [
                await stack.enter_async_context(gateway(config, {**environ, "LOAD_CLOCK_SKEW": str(skew)}))
                for skew in SKEWS
            ]


async def _limit(report: Report, boxes: Sequence[Gateway], up: Upstreams, seconds: float, *, short: bool) -> None:
    rpm = 20 if short else RPM
    request = _request(await _key(boxes[0], {"limits": {"rpm": rpm}}), "free")
    clients = [box.client() for box in boxes]
    statuses: Counter[int] = Counter()

    async def call(number: int) -> None:
        statuses[(await clients[number % len(clients)].call(request)).status] += 1

    await at_rate(max(OFFERED * rpm / MINUTE, 2 * rpm / seconds), seconds, call)
    for client in clients:
        client.close()
    times = sorted(seen.at for seen in await up.log("up") if seen.model == "free")
    fullest = max(sum(at <= each < at + MINUTE for each in times) for at in times)
    report.figure("answers", dict(sorted(statuses.items())))
    report.equal("answers other than 200 and 429", sum(statuses.values()) - statuses[200] - statuses[429], 0)
    report.equal("answers 200, and requests upstream", statuses[200], len(times))
    report.at_most("most requests of a minute", fullest, rpm)
    report.at_least("requests to those allowed", len(times) / (rpm * max(1, seconds // MINUTE)), LEAST)


async def _budget(report: Report, boxes: Sequence[Gateway], up: Upstreams, calls: int, *, short: bool) -> None:
    key = await _key(boxes[0], {})
    statuses: Counter[int] = Counter()
    alive = list(boxes)
    for wave in range(WAVES):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_ask(alive[number % len(alive)], key, number, wave)) for number in range(calls)]
            if wave == KILLED:
                await until(lambda: _has_begun(up))
                alive.pop().process.kill()
        statuses.update(task.result() for task in tasks)
    killed = {f"{wave} {number}" for wave in range(KILLED + 1) for number in range(2, calls, len(boxes))}
    row = await _row(alive[0])
    report.at_most("spent and reserved after the last wave", row["spent_usd"] + row["reserved_usd"], CAP / 10**9)
    if not short:
        within = LEASE_SECONDS + 10

        async def returned() -> bool:
            return not (await _row(alive[0]))["reserved_usd"]

        report.equal("nothing stays reserved after the lease", await until(returned, within, every=1.0), True)
        async with asyncio.TaskGroup() as group:  # what the killed replica had reserved can be spent
            for number in range(calls):
                group.create_task(_ask(alive[number % len(alive)], key, number, WAVES))
        while await _ask(alive[0], key, 0, WAVES) == 200:  # of several at once each reserves more than it costs
            pass
    log = [seen for seen in await up.log("up") if seen.model != "free"]
    row = await _row(alive[0])
    report.figure("answers", dict(sorted(statuses.items())))
    known = sum(_cost(seen) for seen in log if seen.call not in killed)
    report.at_most("nano-dollars by the upstream's log, of replicas that live", known, CAP)
    report.figure("nano-dollars by the upstream's log", sum(map(_cost, log)))
    report.at_most("spent", round(row["spent_usd"] * 10**9), CAP)
    report.at_least("calls that the budget rejected", statuses[429], 1)
    if not short:
        report.equal("reserved in the end", row["reserved_usd"], 0)
        left = CAP - round(row["spent_usd"] * 10**9)
        report.at_most("left of the budget, in nano-dollars", left, FITS)


async def _has_begun(up: Upstreams) -> bool:
    return sum(seen.model != "free" for seen in await up.log("up")) >= BEGUN


async def _ask(box: Gateway, key: str, number: int, wave: int) -> int:
    """Make one call, and return its status; 0 if the connection broke, because the replica was killed."""
    shape = SHAPES[number % len(SHAPES)]
    stream = shape != "whole" and shape != "error"
    client, request = box.client(), _request(key, shape, f"{wave} {number}", stream=stream)
    try:
        if shape != "left":
            return (await client.call(request, stream=stream)).status
        async with client.sent(request) as (reader, _):
            head = await reader.readuntil(b"\r\n")
            if b" 200 " in head:
                await reader.readuntil(b"content")
            return int(head.split(b" ")[1])
    except (OSError, EOFError):
        return 0
    finally:
        client.close()


def _request(key: str, model: str, content: str = "hi", *, stream: bool = False) -> bytes:
    body = chat_body(f"up/{model}", content, stream=stream, max_tokens=10)
    return request_bytes("POST", "/v1/chat/completions", body, {"authorization": f"Bearer {key}"})


def _cost(seen: Seen) -> int:
    """Return what a request has cost at least: a whole answer by its usage, any other the input that was read."""
    if seen.status != 200:
        return 0
    tokens = usage(seen.sent)
    return int(tokens["prompt_tokens"] * INPUT + tokens["completion_tokens"] * OUTPUT)


async def _row(box: Gateway) -> dict[str, Any]:
    [row] = await box.rows("budgets")
    return row


async def _key(box: Gateway, fields: dict[str, Any]) -> str:
    client = box.client()
    answer = await client.call(request_bytes("POST", "/admin/keys", {"name": "load", **fields}, ADMIN))
    client.close()
    key: str = json.loads(answer.body)["key"]
    return key
