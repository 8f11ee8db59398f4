"""A client for many streams: one `asyncio.Protocol` each, which counts the events of `lean_upstream.py`.

    async with Swarm(url) as swarm:
        stream = await swarm.open("lean/paced-10-100")
        await stream.ended.wait()
        stream.events, stream.ordered, stream.whole, stream.delays

Nothing here decides whether a figure is good.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import cast
from urllib.parse import urlsplit

import httptools

from proxy.core.clock import SystemClock
from tests.load.client import chat_body, request_bytes

_EVENT = re.compile(rb'"created":(\d{10,20}),[^\n]*?"content":"(\d+) ')
_CLOCK = SystemClock()


@dataclass
class Stream:
    """What became of one call; `delays` are seconds from the upstream's writing of an event to its arrival."""

    began: float = field(default_factory=_CLOCK.monotonic)
    status: int = 0
    events: int = 0
    ordered: bool = True  # events came in order, none twice, none missing
    done: bool = False  # `[DONE]` came
    complete: bool = False  # the HTTP message is complete
    error: bytes = b""  # the body of an answer that is not a 200, or the error event
    first: float | None = None  # monotonic seconds
    last: float = 0.0
    delays: list[float] = field(default_factory=list)
    opened: asyncio.Event = field(default_factory=asyncio.Event)  # the first event or the end has come
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def whole(self) -> bool:
        """A 200 with all events in order, `[DONE]`, and a proper end."""
        return self.status == 200 and self.ordered and self.done and self.complete and not self.error

    @property
    def running(self) -> bool:
        """A 200 that has begun and not ended."""
        return self.status == 200 and self.events > 0 and not self.ended.is_set()


class Connection(asyncio.Protocol):
    """Sends one request and reads its answer; `close` leaves in the middle."""

    def __init__(self, request: bytes, stream: Stream) -> None:
        self._request = request
        self._stream = stream
        self._parser = httptools.HttpResponseParser(self)
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the stream, whole or not."""
        self._stream.opened.set()
        self._stream.ended.set()

    def data_received(self, data: bytes) -> None:
        """Parse a part of the answer; what is not HTTP counts as an answer that was cut."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.close()

    def on_headers_complete(self) -> None:
        """Take the status."""
        self._stream.status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        """Count the events that are whole."""
        stream = self._stream
        if stream.status != 200:
            stream.error += data
            return
        whole, _, self._rest = (self._rest + data).rpartition(b"\n\n")
        now = _CLOCK.monotonic()
        for stamp, number in _EVENT.findall(whole):
            stream.events += 1
            stream.ordered = stream.ordered and int(number) == stream.events
            stream.delays.append(now - int(stamp) / 1e9)
        if stream.events:
            stream.first, stream.last = stream.first or now, now
            stream.opened.set()
        stream.done = stream.done or b"data: [DONE]" in whole
        if b'data: {"error"' in whole:
            stream.error = whole[whole.index(b'data: {"error"') :]

    def on_message_complete(self) -> None:
        """Close: one call for each connection."""
        self._stream.complete = not self._rest
        self._stream.ended.set()
        self.transport.close()


class Swarm:
    """Opens streams at one server, and closes what is left of them in the end."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._connections: list[Connection] = []
        self.streams: list[Stream] = []

    async def __aenter__(self) -> Swarm:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self, model: str, *, stream: bool = True, content: str = "hi", source: str | None = None) -> Stream:
        """Start a call and return it at once; a refused connection is a stream with status 0."""
        request = request_bytes("POST", "/v1/chat/completions", chat_body(model, content, stream=stream))
        found = Stream()
        self.streams.append(found)
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Connection(request, found), self._host, self._port, local_addr=(source, 0) if source else None
            )
        except OSError as error:
            found.error = str(error).encode()
            found.opened.set()
            found.ended.set()
        else:
            self._connections.append(connection)
        return found

    async def close(self) -> None:
        """Leave all streams."""
        for connection in self._connections:
            connection.transport.abort()
        for stream in self.streams:
            await stream.ended.wait()
        self._connections.clear()


def error_code(stream: Stream) -> str | None:
    """Return the code of the error in an answer, if there is one."""
    text = stream.error.removeprefix(b"data: ").partition(b"\n")[0]
    try:
        value: Mapping[str, Mapping[str, str | None]] = json.loads(text)
    except ValueError:
        return None
    return value.get("error", {}).get("code")
