"""An upstream for many streams: `python -m tests.load.lean_upstream` prints its port and serves until its input ends.

The model's name is the script. Each event of a stream carries its time (`created`, nanoseconds of the monotonic clock,
which all processes of a machine share) and its number (`content`), so that `lean_client.py` can tell delay and order.

| model | answer |
| --- | --- |
| `paced-EVENTS-MS` | a stream of EVENTS events, one every MS milliseconds; EVENTS may be 0: without end |
| `flood-MIB` | a stream of MIB MiB in events of 16 KiB, as fast as it is read |
| any other | `hostile.ANSWERS` by its name, or a small answer in one piece |

A call with `"stream": false` gets the small answer, except from `hostile.ANSWERS`.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from typing import cast

import httptools
import uvloop

from proxy.core.clock import SystemClock
from tests.load.hostile import ANSWERS, hostile_answer
from tests.load.scripted import completion

MIB = 1024 * 1024
FLOOD_EVENT = 16 * 1024  # bytes of text
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
STREAM_END = b"data: [DONE]\n\n"
_EVENT = (
    b'data: {"id":"chatcmpl-load","object":"chat.completion.chunk","created":%d,"model":"scripted","choices":'
    b'[{"index":0,"delta":{"content":"%d %s"},"finish_reason":%s}]}\n\n'
)
_SCRIPT = re.compile(rb'"model": ?"([a-z_]+)(?:-(\d+))?(?:-(\d+))?"')
_STREAMED = re.compile(rb'"stream": ?true')
_CLOCK = SystemClock()


def event(number: int, text: bytes = b"", *, last: bool = False) -> bytes:
    """Return event `number` of a stream, stamped with the present time."""
    return _EVENT % (int(_CLOCK.monotonic() * 1e9), number, text, b'"stop"' if last else b"null")


def chunk(data: bytes) -> bytes:
    """Return `data` as one chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def plain_answer() -> bytes:
    """Return a small answer in one piece."""
    body = completion(1, 5)
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Upstream(asyncio.Protocol):
    """One connection; it writes no faster than the far side reads."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start."""
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpRequestParser(self)
        self._body = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._pieces: Iterator[bytes] | None = None  # of an answer that is written as fast as it is read
        self._paused = False

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the stream, if one is running."""
        self._pieces = None
        if self._timer is not None:
            self._timer.cancel()

    def pause_writing(self) -> None:
        """Wait until the far side has read."""
        self._paused = True

    def resume_writing(self) -> None:
        """Continue."""
        self._paused = False
        self._write_pieces()

    def data_received(self, data: bytes) -> None:
        """Parse a request."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_body(self, data: bytes) -> None:
        """Collect a request's body."""
        self._body += data

    def on_message_complete(self) -> None:
        """Answer."""
        body = bytes(self._body)
        self._body.clear()
        match = _SCRIPT.search(body)
        name = match[1].decode() if match else ""
        first, second = (int(match[2] or 0), int(match[3] or 0)) if match else (0, 0)
        if name in ANSWERS:
            pieces = hostile_answer(name, stream=_STREAMED.search(body) is not None)
            self._start((piece for piece in pieces), close=True)
        elif name == "paced" and _STREAMED.search(body):
            self._transport.write(STREAM_HEAD)
            self._pace(1, first, second / 1000)
        elif name == "flood" and _STREAMED.search(body):
            self._start(_flood(first * MIB // FLOOD_EVENT), close=False)
        else:
            self._transport.write(plain_answer())

    def _pace(self, number: int, count: int, pause: float) -> None:
        last = number == count
        self._transport.write(chunk(event(number, last=last)))
        if last:
            self._transport.write(chunk(STREAM_END) + b"0\r\n\r\n")
        else:
            self._timer = asyncio.get_running_loop().call_later(pause, self._pace, number + 1, count, pause)

    def _start(self, pieces: Iterator[bytes], *, close: bool) -> None:
        self._pieces, self._close = pieces, close
        self._write_pieces()

    def _write_pieces(self) -> None:
        while self._pieces is not None and not self._paused:
            piece = next(self._pieces, None)
            if piece is None:
                self._pieces = None
                if self._close:
                    self._transport.close()
            else:
                self._transport.write(piece)


def _flood(count: int) -> Iterator[bytes]:
    yield STREAM_HEAD
    text = b"x" * FLOOD_EVENT
    for number in range(1, count + 1):
        yield chunk(event(number, text, last=number == count))
    yield chunk(STREAM_END) + b"0\r\n\r\n"


async def main() -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Upstream, "127.0.0.1", 0, backlog=8192)
    sys.stdout.write(json.dumps({"lean": server.sockets[0].getsockname()[1]}) + "\n")
    sys.stdout.flush()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    await commands.read()


if __name__ == "__main__":
    uvloop.run(main())
