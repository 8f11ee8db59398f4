"""The load generator: closed loop, keep-alive, one `asyncio.Protocol` a connection.

    python -m tests.bench.client URL MODEL --connections C --requests N [--stream EVENTS] [--body big] [--seconds T]

Prints one JSON object: `ok`, `bad`, `wall_s`, `latency_us` and, for streams, `events` and `delay_us` (percentiles of
the time from the upstream's writing of an event to its arrival here). A stream counts as good only if all its events
and `[DONE]` came. `--seconds` ends the run early.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import httptools
import uvloop

from proxy.core.clock import SystemClock

_CLOCK = SystemClock()
STAMP = re.compile(rb'"created":(\d{10,20}),')
_TEXT = 'the quick brown fox jumps over a lazy dog while "quoted" words\nand new lines and \u00e9t\u00e9 pass '


def body_of(kind: str, model: str, *, stream: bool) -> bytes:
    """A request body: `small` (about 150 bytes) or `big` (about 107 KB in 20 messages)."""
    if kind == "big":
        messages = [{"role": ("user", "assistant")[n % 2], "content": (_TEXT * 62)[:5000]} for n in range(20)]
    else:
        messages = [{"role": "system", "content": "You are terse."}, {"role": "user", "content": "Say hello."}]
    body = {"model": model, "messages": messages, "temperature": 0.7}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(body).encode()


@dataclass
class Run:
    """What all connections share."""

    request: bytes
    left: int
    events: int  # expected of each stream; 0: no streams
    done: asyncio.Event
    ok: int = 0
    bad: int = 0
    running: int = 0
    latencies: list[float] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)


class Connection(asyncio.Protocol):
    """Sends the request again and again while there are any left."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._parser = httptools.HttpResponseParser(self)
        self._busy = self._done = False
        self._events = 0
        self._rest = b""  # of an event that has not come in whole
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """A connection that ends during a request has failed it."""
        if self._busy:
            self._end(ok=False)

    def data_received(self, data: bytes) -> None:
        """A part of an answer."""
        if self._run.events:
            now = _CLOCK.monotonic() * 1e9
            whole, end, self._rest = (self._rest + data).rpartition(b"\n\n")
            stamps = STAMP.findall(whole + end)
            self._events += len(stamps)
            self._run.delays += [(now - int(stamp)) / 1000 for stamp in stamps]
            self._done = self._done or b"data: [DONE]" in whole
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        run = self._run
        whole = not run.events or (self._events == run.events and self._done)
        self._end(ok=whole and self._parser.get_status_code() == 200)
        self._parser = httptools.HttpResponseParser(self)
        self._send()

    def _send(self) -> None:
        run = self._run
        if run.left <= 0:
            self._transport.close()
            return
        run.left -= 1
        run.running += 1
        self._busy, self._events, self._done, self._rest = True, 0, False, b""
        self._began = _CLOCK.monotonic()
        self._transport.write(run.request)

    def _end(self, *, ok: bool) -> None:
        run = self._run
        self._busy = False
        run.running -= 1
        run.ok, run.bad = run.ok + ok, run.bad + (not ok)
        run.latencies.append((_CLOCK.monotonic() - self._began) * 1e6)
        if not run.running and run.left <= 0:
            run.done.set()


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """The 50th and 99th percentile."""
    ordered = sorted(values)
    return {f"p{part}": round(ordered[int((len(ordered) - 1) * part / 100)], 1) for part in (50, 99) if ordered}


async def drive(options: argparse.Namespace) -> dict[str, object]:
    """Run the load."""
    parts = urlsplit(options.url)
    body = body_of(options.body, options.model, stream=bool(options.stream))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-type: application/json\r\n"
    head += f"authorization: Bearer sk-bench\r\ncontent-length: {len(body)}\r\n\r\n"
    run = Run(head.encode() + body, options.requests, options.stream, asyncio.Event())
    loop = asyncio.get_running_loop()
    began = _CLOCK.monotonic()
    for number in range(options.connections):
        await loop.create_connection(lambda: Connection(run), parts.hostname, parts.port)
        if options.ramp:
            await asyncio.sleep(
                max(0.0, began + options.ramp * (number + 1) / options.connections - _CLOCK.monotonic())
            )
    if options.seconds:
        loop.call_later(options.seconds, lambda: setattr(run, "left", 0))
    async with asyncio.timeout(120):
        await run.done.wait()
    found: dict[str, object] = {"ok": run.ok, "bad": run.bad, "wall_s": _CLOCK.monotonic() - began}
    found |= {"latency_us": percentiles(run.latencies), "events": len(run.delays), "delay_us": percentiles(run.delays)}
    return found


def main() -> None:
    """Print the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("url")
    parser.add_argument("model")
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--stream", type=int, default=0, metavar="EVENTS")
    parser.add_argument("--body", choices=("small", "big"), default="small")
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--ramp", type=float, default=0.0, help="seconds over which connections are opened")
    sys.stdout.write(json.dumps(uvloop.run(drive(parser.parse_args()))) + "\n")


if __name__ == "__main__":
    main()
