"""Slow heads and slow bodies: each connection is ended at its deadline, and other clients are served meanwhile.

A head has `server.header_timeout` from the start of its connection. A body may pause for as long, and in all it has
three times as long and 1 s more for every 64 KiB (`proxy/http/reading.py`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import anyio

from tests.load.client import Answer, at_rate, chat_body, in_parallel, request_bytes
from tests.load.harness import Gateway, Options, gateway, lean_config, lean_upstream, now, until
from tests.load.report import Report, percentile

CLIENTS = 100  # of each kind
TIMEOUT = 2.0  # seconds: `server.header_timeout`
EARLY, LATE = 0.02, 0.25  # seconds around the deadline
RATE = 20.0  # calls a second of other clients
SHORT_FORM = Options(calls=3, seconds=0.4)

REQUEST = request_bytes("POST", "/v1/chat/completions", chat_body("lean/plain", "x" * 2000))
HEAD, BODY = REQUEST[: REQUEST.index(b"\r\n\r\n") + 4], REQUEST[REQUEST.index(b"\r\n\r\n") + 4 :]
CHUNKED = HEAD[: HEAD.index(b"content-length")] + b"transfer-encoding: chunked\r\n\r\n"

Piece = tuple[bytes, float]  # what is sent, and the pause after it in units of the timeout
DRIP = 0.25


def drip(start: bytes, rest: bytes) -> list[Piece]:
    """Return `start`, and then one byte of `rest` after the other."""
    return [(start, DRIP), *((rest[at : at + 1], DRIP) for at in range(len(rest)))]


KINDS: dict[str, list[Piece]] = {
    "no request": [],
    "head that stops": [(HEAD[:40], 0)],
    "head byte by byte": drip(HEAD[:20], HEAD[20:]),
    "body that never starts": [(HEAD, 0)],
    "body that stops": [(HEAD + BODY[:1000], 0)],
    "body byte by byte": drip(HEAD, BODY),
    "chunks byte by byte": [(CHUNKED, DRIP), *((b"1\r\n%c\r\n" % byte, DRIP) for byte in BODY)],
    "body in four parts": [(HEAD, 0.4), *((BODY[at : at + 600], 0.4) for at in range(0, len(BODY), 600))],
}
EXPECTED: dict[str, tuple[int, float]] = {  # status (0: closed without an answer), deadline in units of the timeout
    "no request": (0, 1.0),
    "head that stops": (408, 1.0),
    "head byte by byte": (408, 1.0),
    "body that never starts": (408, 1.0),
    "body that stops": (408, 1.0),
    "body byte by byte": (408, 3.0),
    "chunks byte by byte": (408, 3.0),
}
PATIENT = "body in four parts"  # it is slow but not too slow


@dataclass
class Outcome:
    """How a slow client's connection ended."""

    status: int
    seconds: float


@dataclass
class Start:
    """When a deadline began: the start of the connection, or the end of the head once that was sent."""

    time: float


@dataclass
class Slow:
    """All slow clients of a run."""

    box: Gateway
    timeout: float
    outcomes: dict[str, list[Outcome]] = field(default_factory=lambda: {kind: [] for kind in KINDS})

    async def run(self, kind: str) -> None:
        """Send slowly until the answer or the end of the connection comes."""
        client = self.box.client()
        start = Start(now())
        reader, writer = await client.connect()
        async with anyio.create_task_group() as group:
            group.start_soon(self._send, writer, KINDS[kind], start)
            try:
                data = await reader.read(65536)
                self.outcomes[kind].append(Outcome(int(data[9:12]) if data else 0, now() - start.time))
            except ConnectionError:
                self.outcomes[kind].append(Outcome(-1, now() - start.time))
            group.cancel_scope.cancel()
        writer.close()

    async def _send(self, writer: asyncio.StreamWriter, pieces: list[Piece], start: Start) -> None:
        for data, pause in pieces:
            if b"\r\n\r\n" in data:
                start.time = now()
            writer.write(data)
            await asyncio.sleep(pause * self.timeout)


async def check(report: Report, options: Options) -> None:
    """All kinds side by side, with ordinary calls beside them."""
    count, timeout = options.calls or CLIENTS, options.seconds or TIMEOUT
    server = {"header_timeout": f"{timeout * 1000:.0f}ms"}
    async with lean_upstream() as url, gateway(lean_config(url, server=server)) as box:
        client, answers = box.client(), list[Answer]()

        async def call(number: int) -> None:
            answers.append(await client.chat("lean/plain", f"call {number}"))

        slow, kinds = Slow(box, timeout), list(KINDS)
        async with asyncio.TaskGroup() as group:
            group.create_task(at_rate(RATE, 3.5 * timeout, call))
            total = count * len(kinds)
            group.create_task(in_parallel(total, total, lambda number: slow.run(kinds[number % len(kinds)])))
        client.close()

        async def released() -> bool:
            return box.connections() == 0

        await until(released)
        report.at_most("connections left over", box.connections(), 0)
    for kind, (status, deadline) in EXPECTED.items():
        _judge(report, kind, slow.outcomes[kind], status, deadline * timeout)
    served = sum(outcome.status == 200 for outcome in slow.outcomes[PATIENT])
    report.at_least(f"{PATIENT}: answered", served, count, full_only=True)
    report.equal("other calls: answered", sum(answer.ok for answer in answers), len(answers))
    times = sorted(answer.seconds * 1000 for answer in answers)
    report.figure("other calls: p99", percentile(times, 99), "ms")


def _judge(report: Report, kind: str, outcomes: list[Outcome], status: int, deadline: float) -> None:
    right = sum(outcome.status == status for outcome in outcomes)
    report.equal(f"{kind}: {'status ' + str(status) if status else 'closed'}", right, len(outcomes))
    times = [outcome.seconds for outcome in outcomes]
    report.at_least(f"{kind}: ended, earliest", min(times), deadline - EARLY, "s", full_only=True)
    report.at_most(f"{kind}: ended, latest", max(times), deadline + LATE, "s", full_only=True)
