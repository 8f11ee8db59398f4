"""Compression bombs, wrong lengths and deep JSON from clients and upstreams: each fails cleanly, and nobody waits.

Each case of `hostile.py` is sent several times, from a client or by an upstream. Beside it another client asks for
`/livez` every few milliseconds. A wait of that client counts no more than the processor time that Signalbox used
meanwhile, because other processes may have delayed both. The lag of a case is the longest wait, in the best of all
runs: what the machine adds comes by chance, what the case costs comes every time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import urlsplit

import anyio

from tests.load.client import Client, request_bytes
from tests.load.harness import Gateway, Options, gateway, lean_config, lean_upstream, now
from tests.load.hostile import ANSWERS, hostile_requests
from tests.load.report import Report

LAG = 50.0  # ms
TIMES = 5
EVERY = 0.003  # seconds between two questions
MEMORY = 250.0  # MB that may be in use at the peak, a request of 32 MiB among it
FLOODS = {"bomb_of_blank_lines", "blank_lines", "tiny_comments", "tiny_events", "endless_line"}  # not in a short form
SHORT_FORM = Options(calls=1)
NEVER = {"consecutive": 1_000_000, "window_failures": 1_000_000}
CONFIG = {
    "server": {"header_timeout": "2s"},
    "resilience": {"breaker": NEVER, "retry": {"attempts": 1}, "probes": {"enabled": False}},
}


@dataclass
class Outcome:
    """What became of a case, each time."""

    statuses: list[int] = field(default_factory=list)  # 0: closed without an answer
    lags: list[float] = field(default_factory=list)  # ms


@dataclass
class Trial:
    """One running Signalbox, its upstream, and how often each case is sent."""

    box: Gateway
    times: int

    async def lag(self, case: Callable[[], Awaitable[int]], outcome: Outcome) -> None:
        """Run a case, and measure the longest wait of another client meanwhile."""
        client = self.box.client()
        waits: list[float] = []
        over = anyio.Event()
        await client.get("/livez")
        async with anyio.create_task_group() as group:
            group.start_soon(self._ask, client, waits, over)
            await anyio.sleep(5 * EVERY)
            outcome.statuses.append(await case())
            await anyio.sleep(5 * EVERY)
            over.set()
        outcome.lags.append(max(waits) * 1000)
        client.close()

    async def _ask(self, client: Client, waits: list[float], over: anyio.Event) -> None:
        request = request_bytes("GET", "/livez")
        while not over.is_set():
            began, used = now(), self.box.processor_seconds()
            await client.call(request)
            waits.append(min(now() - began, self.box.processor_seconds() - used))
            await anyio.sleep(EVERY)

    async def from_client(self, request: bytes) -> int:
        """Send a request and return the status, 0 if the connection ends without an answer."""
        parts = urlsplit(self.box.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            writer.write(request)
            async with asyncio.timeout(30):
                head = await reader.read(64)
        except ConnectionError:
            return 0
        finally:
            writer.close()
        return int(head[9:12] or 0)

    async def from_upstream(self, name: str, *, stream: bool) -> int:
        """Call a model whose upstream is hostile; the status, or 502 for a stream that ended with an error event."""
        client = self.box.client(30.0)
        answer = await client.chat(f"lean/{name}", name, stream=stream)
        client.close()
        return 502 if answer.status == 200 and (answer.error or answer.torn) else answer.status


async def check(report: Report, options: Options) -> None:
    """Every case from either side."""
    async with lean_upstream() as url, gateway(lean_config(url, **CONFIG)) as box:
        trial = Trial(box, options.calls or TIMES)
        await _run(report, trial, "nothing", _nothing, (0,))
        before = box.memory()
        box.reset_peak_memory()
        for name, (request, statuses) in hostile_requests().items():
            await _run(report, trial, f"client: {name}", partial(trial.from_client, request), statuses)
        for name in ANSWERS if trial.times > 1 else ANSWERS.keys() - FLOODS:
            statuses = (400,) if name == "deep_error" else (502,)
            for kind in ("plain", "stream"):
                title = f"upstream: {name.replace('_', ' ')}, {kind}"
                await _run(report, trial, title, partial(trial.from_upstream, name, stream=kind == "stream"), statuses)
        report.at_most("more memory at the peak", (box.peak_memory() - before) / 1e6, MEMORY, "MB", full_only=True)
        client = box.client()
        report.equal("a plain call is answered in the end", (await client.chat("lean/plain")).ok, wanted=True)
        client.close()


async def _run(
    report: Report, trial: Trial, title: str, case: Callable[[], Awaitable[int]], statuses: tuple[int, ...]
) -> None:
    outcome = Outcome()
    for _ in range(trial.times):
        await trial.lag(case, outcome)
    right = all(status in statuses for status in outcome.statuses)
    wanted = " or ".join(map(str, statuses))
    report.want(f"{title}: status", ", ".join(map(str, sorted(set(outcome.statuses)))), f"= {wanted}", ok=right)
    report.at_most(f"{title}: lag", min(outcome.lags), LAG, "ms", full_only=True)


async def _nothing() -> int:
    await anyio.sleep(0.1)
    return 0
