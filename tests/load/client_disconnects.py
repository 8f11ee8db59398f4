"""Clients disconnect while queued, connecting, before the first byte, and in mid-answer: nothing of them is left.

Half of them close their connection, half reset it. The delay is the time from just before that until the provider's
connection is closed; while Signalbox connects by TCP, until the socket is gone from the kernel's table; in the queue,
until the queue is shorter.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from tests.load.client import Client, Link, chat_body, in_parallel, request_bytes
from tests.load.harness import Gateway, Options, Resources, Upstreams, accepts, gateway, now, until, upstreams
from tests.load.report import Report, percent
from tests.load.scripted import Behaviour
from tests.load.silent import Hole, Mute, hole, mute

SOON = 0.25  # seconds for a provider to see the close
SETTLED = 1.0  # seconds until all resources are released
WIDTH = 8
ENDLESS = Behaviour(words=1000, pace=0.05)
HALF = Behaviour(end="stall", after=0)
Reached = Callable[[], Awaitable[bool]]


class Trials:
    """Clients that disconnect, and the delays until that shows."""

    def __init__(self, box: Gateway, up: Upstreams, seed: int) -> None:
        self.box = box
        self.up = up
        self.client: Client = box.client()
        self.rng = random.Random(seed)

    async def leave(
        self, number: int, model: str, name: str, *, stream: bool, reached: Callable[[Link], Reached]
    ) -> float:
        """Run one client that disconnects once `reached` holds; return the moment."""
        request = request_bytes("POST", "/v1/chat/completions", chat_body(model, name, stream=stream))
        async with self.client.sent(request) as link:
            if not await until(reached(link), every=0.002):
                raise RuntimeError(f"the call {name!r} did not come so far")
            await asyncio.sleep(self.rng.random() * 0.01)
            if number % 2:
                _reset_on_close(link)
            return now()

    async def at_upstream(self, count: int, model: str, window: str, *, stream: bool, content: bool) -> list[float]:
        """Disconnect once the call has reached the upstream, or has content; return the delays in seconds."""
        left: dict[str, float] = {}

        async def trial(number: int) -> None:
            name = f"{window} {stream} {number}"
            reached = has_read if content else partial(_regardless, partial(self.up.arrived, name))
            left[name] = await self.leave(number, model, name, stream=stream, reached=reached)

        await in_parallel(count, WIDTH, trial)
        gone: dict[str, float] = {}

        async def all_gone() -> bool:
            gone.update({seen.call: seen.gone_at for seen in await self.up.log() if seen.gone_at is not None})
            return left.keys() <= gone.keys()

        await until(all_gone, within=3.0)
        return [gone.get(name, float("inf")) - moment for name, moment in left.items()]

    async def by_tls(self, count: int, silent: Mute, *, stream: bool) -> list[float]:
        """Disconnect clients whose call waits for a TLS handshake."""
        delays = []
        for number in range(count):
            greeted, lost = silent.greeted + 1, len(silent.lost) + 1

            async def reached(greeted: int = greeted) -> bool:
                return silent.greeted >= greeted

            async def over(lost: int = lost) -> bool:
                return len(silent.lost) >= lost

            left = await self.leave(number, "mute/model", "tls", stream=stream, reached=partial(_regardless, reached))
            delays.append(silent.lost[-1] - left if await until(over, within=3.0) else float("inf"))
        return delays

    async def by_tcp(self, count: int, closed: Hole, *, stream: bool) -> list[float]:
        """Disconnect clients whose call waits for a TCP connection."""

        async def reached() -> bool:
            return closed.connecting == 1

        async def over() -> bool:
            return closed.connecting == 0

        return await self._watched(count, "hole/model", "tcp", reached, over, stream=stream)

    async def queued(self, count: int, *, stream: bool) -> list[float]:
        """Disconnect clients whose call waits for a slot, which another call holds."""

        async def reached() -> bool:
            return await self.box.metric("signalbox_queue_depth") == 1

        async def over() -> bool:
            return await self.box.metric("signalbox_queue_depth") == 0

        holder = request_bytes("POST", "/v1/chat/completions", chat_body("up/limited", "holder", stream=True))
        async with self.client.sent(holder) as link:
            await until(has_read(link))
            return await self._watched(count, "up/limited", "queued", reached, over, stream=stream)

    async def _watched(
        self, count: int, model: str, name: str, reached: Reached, over: Reached, *, stream: bool
    ) -> list[float]:
        delays = []
        for number in range(count):
            left = await self.leave(number, model, name, stream=stream, reached=partial(_regardless, reached))
            delays.append(now() - left if await until(over, within=3.0, every=0.002) else float("inf"))
        return delays


async def check(report: Report, options: Options) -> None:
    """Disconnect 800 clients, in windows of the same size."""
    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(upstreams("up"))
        closed = stack.enter_context(hole())
        silent = await stack.enter_async_context(mute())
        config = configuration(up, closed, silent)
        queues = accepts(limited(config))
        box = await stack.enter_async_context(gateway(limited(config) if queues else config))
        for model, behaviour in {"endless": ENDLESS, "limited": ENDLESS, "half": HALF}.items():
            await up.behave("up", behaviour, model=model)
        await up.behave("up", Behaviour(end="stall"), HALF, model="silent")
        if not queues:
            report.note("models[].limits.concurrency is not in this version: the queue is not measured")
        await _windows(report, Trials(box, up, options.seed), closed, silent, options.calls or 800, queues=queues)


def configuration(up: Upstreams, closed: Hole, silent: Mute) -> dict[str, Any]:
    """A provider that answers, one that cannot be reached and one that never finishes its handshake."""
    urls = {
        "up": up.url("up"),
        "hole": f"http://127.0.0.1:{closed.port}/v1",
        "mute": f"https://127.0.0.1:{silent.port}/v1",
    }
    return {
        "providers": {
            name: {"base_url": url, "any_model": True, "timeouts": {"connect": "1h"}} for name, url in urls.items()
        },
        "models": [{"id": "up/limited"}],
    }


def limited(config: dict[str, Any]) -> dict[str, Any]:
    """The same with a model that takes one call at a time."""
    models = [{"id": "up/limited", "limits": {"concurrency": 1}}]
    return {**config, "models": models, "resilience": {"queue": {"max_wait": "1h"}}}


def has_read(link: Link) -> Reached:
    """Return a condition: content has arrived."""
    data = bytearray()

    async def reached() -> bool:
        data.extend(await link[0].read(65536))
        return b":2/" in data

    return reached


def _regardless(reached: Reached, _link: Link) -> Reached:
    """Return a condition that does not depend on what the client has read."""
    return reached


async def _windows(report: Report, trials: Trials, closed: Hole, silent: Mute, calls: int, *, queues: bool) -> None:
    each = -(-calls // (8 if queues else 6))
    base = await _baseline(trials)
    for stream in (False, True):
        kind = "stream" if stream else "plain"
        at_upstream = partial(trials.at_upstream, each, stream=stream)
        if queues:
            _judge(report, f"queued, {kind}", await trials.queued(each, stream=stream))
        _judge(report, f"connecting by TCP, {kind}", await trials.by_tcp(each // 2, closed, stream=stream))
        _judge(report, f"connecting by TLS, {kind}", await trials.by_tls(each - each // 2, silent, stream=stream))
        await _settled(report, trials, base, f"connecting, {kind}")
        _judge(report, f"before the first byte, {kind}", await at_upstream("up/silent", "before", content=False))
        await _settled(report, trials, base, f"before the first byte, {kind}")
        model = "up/endless" if stream else "up/half"
        _judge(report, f"in mid-answer, {kind}", await at_upstream(model, "amid", content=stream))
        await _settled(report, trials, base, f"in mid-answer, {kind}")
    trials.box.read()
    closed_calls = sum(line["outcome"] == "client_closed" for line in trials.box.calls)
    wanted = 2 * each * (4 if queues else 3) + (2 if queues else 0)
    report.equal("calls recorded as closed by the client", closed_calls, wanted)
    rows = await trials.box.breakers()
    report.equal("breakers that hold it against a provider", sum(row["failures"] > 0 for row in rows), 0)


async def _baseline(trials: Trials) -> Resources:
    """Return what an idle process holds after some calls."""
    client = trials.box.client()
    for _ in range(10):
        await client.chat("up/model", "warm")
        await client.chat("up/model", "warm", stream=True)
    client.close()
    await asyncio.sleep(0.2)
    return await trials.box.resources()


def _judge(report: Report, window: str, delays: list[float]) -> None:
    report.figure(f"{window}: trials", len(delays))
    report.figure(f"{window}: seen after, worst", max(delays) * 1000, "ms")
    share = percent(sum(delay <= SOON for delay in delays), len(delays))
    report.equal(f"{window}: seen within {SOON * 1000:.0f} ms, %", share, 100.0)


async def _settled(report: Report, trials: Trials, base: Resources, window: str) -> None:
    """Report how long it takes until everything is released."""
    began, held = now(), await trials.box.resources()
    while _more(held, base) and now() - began < SETTLED:
        held = await trials.box.resources()
    report.figure(f"{window}: released after", (now() - began) * 1000, "ms")
    report.want(f"{window}: left over", _more(held, base) or "nothing", "nothing", ok=not _more(held, base))


def _more(held: Resources, base: Resources) -> str:
    """Return what is held in addition to the baseline."""
    counts = {
        "calls": held.in_flight - base.in_flight,
        "queued": held.queued - base.queued,
        "tasks": held.tasks - base.tasks,
        "descriptors": held.descriptors - base.descriptors,
    }
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count > 0)


def _reset_on_close(link: Link) -> None:
    found: socket.socket = link[1].get_extra_info("socket")
    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
