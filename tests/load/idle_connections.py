"""10,000 idle connections, then 200 requests a second: their p99 is at most twice that without idle connections.

Each idle connection has served one request and is kept by `server.keep_alive`. The same requests are measured before
the connections are opened, while they are idle, and after they are closed; the baseline is the mean of the first and
the last p99. Each p99 is that of the best of several parts of the measurement: what other processes add comes by
chance, what the connections cost comes in every part.
"""

from __future__ import annotations

import asyncio
import resource
from contextlib import AsyncExitStack

from proxy.server import raise_descriptor_limit
from tests.load.client import Answer, Link, at_rate, in_parallel, request_bytes
from tests.load.harness import Gateway, Options, gateway, lean_config, lean_upstream
from tests.load.report import Report, percentile

IDLE = 10_000
RATE = 200.0  # requests a second
SECONDS = 15.0  # of each measurement
PARTS = 5  # of each measurement
RATIO = 2.0
WIDTH = 100  # connections that are opened at a time
PER_ADDRESS = 20_000  # connections from one address of loopback, which has 28,000 ports to give
SHORT_FORM = Options(calls=100, seconds=0.5)
SPARE = 500  # descriptors for everything else


async def check(report: Report, options: Options) -> None:
    """Measure without, with, and without idle connections."""
    raise_descriptor_limit()
    seconds = options.seconds or SECONDS
    count = min(options.calls or IDLE, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE)
    if count < (options.calls or IDLE):
        report.note(f"only {count} connections: the limit of open files allows no more (`ulimit -n`)")
    async with lean_upstream() as url, gateway(lean_config(url)) as box, AsyncExitStack() as stack:
        await _measure(box, min(seconds, 2.0))  # warm
        before = await _measure(box, seconds)
        memory = box.memory()
        idle = Idle(box)
        stack.callback(idle.close)
        await in_parallel(count, WIDTH, idle.open)
        report.equal("idle connections", idle.served, count)
        report.figure("memory for each", (box.memory() - memory) / count / 1024, "KiB")
        during = await _measure(box, seconds)
        report.equal("still open after that", await idle.open_now(), count)
        idle.close()
        after = await _measure(box, seconds)
    answers = [*before, *during, *after]
    report.equal("answered", sum(answer.ok for answer in answers), len(answers))
    first, second, last = (_p99(answers) for answers in (before, during, after))
    report.figure("p99 before", first, "ms")
    report.figure("p99 with idle connections", second, "ms")
    report.figure("p99 after", last, "ms")
    report.at_most("p99 to the baseline", 2 * second / (first + last), RATIO, full_only=True)


class Idle:
    """Connections that served one request each."""

    def __init__(self, box: Gateway) -> None:
        self._box = box
        self._links: list[Link] = []
        self.served = 0

    async def open(self, number: int) -> None:
        """Open a connection and let it serve a request; each address has a limited number of ports."""
        client = self._box.client()
        reader, writer = await client.connect(f"127.0.0.{1 + number // PER_ADDRESS}")
        writer.write(request_bytes("GET", "/livez"))
        head = await reader.readuntil(b"\r\n\r\n")
        self.served += head.startswith(b"HTTP/1.1 200")
        self._links.append((reader, writer))

    async def open_now(self) -> int:
        """Return the number of connections that the server has not closed."""
        await asyncio.sleep(0)
        return sum(not reader.at_eof() for reader, _ in self._links)

    def close(self) -> None:
        """Close all connections."""
        for _, writer in self._links:
            writer.transport.abort()
        self._links.clear()


async def _measure(box: Gateway, seconds: float) -> list[Answer]:
    client, answers = box.client(), list[Answer]()

    async def call(number: int) -> None:
        answers.append(await client.chat("lean/plain", f"call {number}"))

    await at_rate(RATE, seconds, call)
    client.close()
    return answers


def _p99(answers: list[Answer]) -> float:
    """Return the lowest p99 of the parts, in ms."""
    ordered = sorted(answers, key=lambda answer: answer.started)
    size = -(-len(ordered) // PARTS)
    parts = (ordered[at : at + size] for at in range(0, len(ordered), size))
    return min(percentile(sorted(answer.seconds * 1000 for answer in part), 99) for part in parts)
