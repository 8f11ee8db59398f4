"""A scripted OpenAI-compatible upstream on a real port, which records what really reached it.

A script is an async function of a `Wire`, so that an answer may be cut, reset or stalled at any byte. Scripts are
queued by model; the last one of a queue stays. Nothing in here waits for time to pass: a script goes on when the test
releases it, when its client goes, or at once. The log (`requests`) is the truth that our own records are compared with.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import queue
import socket
import struct
import termios
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from anyio.from_thread import start_blocking_portal

from proxy.core.clock import SystemClock
from tests.support.waiting import PATIENCE

DONE = b"data: [DONE]\n\n"
EVENT_STREAM = "text/event-stream; charset=utf-8"
JSON = "application/json"
_REASONS = {200: "OK", 302: "Found", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found"}


class Request:
    """One request that really arrived."""

    def __init__(self, path: str, headers: Mapping[str, str], body: bytes, arrived: float) -> None:
        self.path = path
        self.headers = headers
        self.body = body
        self.arrived = arrived
        self.json: dict[str, Any] = json.loads(body)
        self.model = str(self.json["model"])
        self.stream = bool(self.json.get("stream"))
        self.gone_at: float | None = None  # when its client was seen to leave before the answer's end
        self._gone = threading.Event()
        self._go = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def release(self) -> None:
        """Let a script that holds go on."""
        self._loop.call_soon_threadsafe(self._go.set)

    def left(self) -> float:
        """Wait until the client has left; the moment, by the monotonic clock."""
        assert self._gone.wait(PATIENCE), "the upstream never saw its client leave"
        assert self.gone_at is not None
        return self.gone_at

    async def go(self) -> None:
        """For scripts: wait for `release`."""
        await self._go.wait()

    def lost(self, moment: float) -> None:
        """For the connection: the client is gone."""
        self.gone_at = moment
        self._gone.set()
        self._go.set()


class _Connection(asyncio.StreamReaderProtocol):
    """Notes the moment at which the far side went away."""

    def __init__(self, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> None:
        super().__init__(asyncio.StreamReader(limit=1 << 26), serve)
        self.current: Request | None = None
        self.gone = asyncio.Event()

    def eof_received(self) -> bool | None:
        self._note()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._note()
        super().connection_lost(exc)

    def _note(self) -> None:
        self.gone.set()
        if self.current is not None:
            self.current.lost(SystemClock().monotonic())
            self.current = None


class Wire:
    """A request and the means to answer it, byte by byte if need be."""

    def __init__(
        self, request: Request, connection: _Connection, writer: asyncio.StreamWriter, *, keeps: bool = True
    ) -> None:
        self.request = request
        self.keep = False  # the connection may be used again
        self._connection = connection
        self._writer = writer
        self._keeps = keeps
        self._chunked = False

    async def head(
        self,
        status: int = 200,
        content_type: str = EVENT_STREAM,
        headers: Mapping[str, str] | None = None,
        length: int | None = None,
    ) -> None:
        """The status line and headers; without `length` the body is chunked."""
        self._chunked = length is None
        framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}", f"content-type: {content_type}", framing]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        lines += [] if self._keeps else ["connection: close"]
        await self.raw("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def send(self, data: bytes) -> None:
        """A piece of the body."""
        await self.raw(b"%x\r\n%s\r\n" % (len(data), data) if self._chunked else data)

    async def raw(self, data: bytes) -> None:
        """Bytes as they are, framing or not."""
        if not self._connection.gone.is_set():
            self._writer.write(data)
            await self._writer.drain()

    async def end(self) -> None:
        """A proper end."""
        self._connection.current = None
        if self._chunked:
            await self.raw(b"0\r\n\r\n")
        self.keep = self._keeps

    async def eof(self) -> None:
        """Close, whatever is missing."""
        self._connection.current = None

    async def arrived(self) -> None:
        """Wait until the far side's kernel has everything that was sent."""
        sock: socket.socket = self._writer.get_extra_info("socket")
        # Nothing reports when the last byte is acknowledged.
        while struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0]:  # noqa: ASYNC110
            await asyncio.sleep(0)

    async def reset(self) -> None:
        """RST, once everything sent has arrived, so that it is never lost with it."""
        await self.arrived()
        sock: socket.socket = self._writer.get_extra_info("socket")
        self._connection.current = None
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def stall(self) -> None:
        """Silence until the client leaves."""
        await self._connection.gone.wait()

    async def hold(self) -> None:
        """Silence until the test says `release`, or the client leaves."""
        await self.request.go()

    @property
    def gone(self) -> bool:
        """The client has left."""
        return self._connection.gone.is_set()


Script = Callable[[Wire], Awaitable[None]]


class Upstream:
    """The server; `url` ends in `/v1`."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self.keeps = True  # False: every request has a connection of its own, and what is dropped is never sent again
        self._scripts: dict[str, list[Script]] = {}
        self._arrivals: queue.Queue[Request] = queue.Queue()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None

    def script(self, model: str, *scripts: Script) -> None:
        """What requests for `model` get, one after the other; the last for all that follow."""
        self._scripts[model] = list(scripts)

    def clear(self) -> None:
        """Forget scripts and log."""
        self._scripts.clear()
        self.requests.clear()
        self._arrivals = queue.Queue()

    def next(self) -> Request:
        """The next request, waited for."""
        return self._arrivals.get(timeout=PATIENCE)

    @property
    def models(self) -> list[str]:
        """The models asked for, in the order of arrival."""
        return [request.model for request in self.requests]

    async def start(self) -> None:
        """Listen on a free port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self._serve), "127.0.0.1", 0, backlog=512)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def stop(self) -> None:
        """Close every connection."""
        assert self._server is not None
        self._server.close()
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection = writer.transport.get_protocol()
        assert isinstance(connection, _Connection)
        try:
            while await self._answer(reader, writer, connection):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: _Connection
    ) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:]) if name}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        request = self._request(head[0].split(" ")[1], headers, body, SystemClock().monotonic())
        connection.current = request
        wire = Wire(request, connection, writer, keeps=self.keeps)
        queued = self._scripts.get(request.model, [self._right])
        chosen = queued.pop(0) if len(queued) > 1 else queued[0]
        self.requests.append(request)
        self._arrivals.put(request)
        await chosen(wire)
        return wire.keep

    def _request(self, path: str, headers: Mapping[str, str], body: bytes, arrived: float) -> Request:
        """What has arrived."""
        return Request(path, headers, body, arrived)

    async def _right(self, wire: Wire) -> None:
        """The answer of a model without a script."""
        await whole(wire)


AnyUpstream = TypeVar("AnyUpstream", bound=Upstream)


@contextmanager
def running(found: AnyUpstream) -> Iterator[AnyUpstream]:
    """An upstream, in a thread of its own for as long as it is wanted."""
    with start_blocking_portal() as portal:
        portal.call(found.start)
        try:
            yield found
        finally:
            portal.call(found.stop)


@contextmanager
def full_port() -> Iterator[int]:
    """A port whose queue of connections is full: connecting to it never ends."""
    with socket.socket() as listening, socket.socket() as first, socket.socket() as second:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


@contextmanager
def blackhole() -> Iterator[str]:
    """An address to which connecting never ends."""
    with full_port() as port:
        yield f"http://127.0.0.1:{port}/v1"


@contextmanager
def refusing() -> Iterator[str]:
    """An address that refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/v1"


# Answers


def event(value: object) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def chunk(delta: Mapping[str, Any] | None = None, *, finish: str | None = None, **fields: Any) -> bytes:
    """One event of a chat stream."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return event(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1700000000,
            "model": "upstream",
            "choices": choices,
            **fields,
        }
    )


ROLE = chunk({"role": "assistant", "content": ""})
FINISH = chunk({}, finish="stop")
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def words(prefix: str, count: int = 3) -> list[bytes]:
    """Content events, `prefix0 `, `prefix1 ` and so on."""
    return [chunk({"content": f"{prefix}{number} "}) for number in range(count)]


def text_of(prefix: str, count: int = 3) -> str:
    """The text of the content events of `words`."""
    return "".join(f"{prefix}{number} " for number in range(count))


def completion(text: str) -> dict[str, Any]:
    """A whole answer that is not streamed."""
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "upstream",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": USAGE,
    }


def error(message: str, kind: str = "server_error", code: str | int | None = None) -> dict[str, Any]:
    """OpenAI's error body."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


async def whole(wire: Wire) -> None:
    """The right answer, streamed if requested; its words begin with the model's name."""
    asked = (wire.request.json.get("stream_options") or {}).get("include_usage")
    if wire.request.stream:
        usage = [chunk(usage=USAGE)] if asked else []
        await stream([ROLE, *words(wire.request.model), FINISH, *usage, DONE])(wire)
    else:
        await plain(json.dumps(completion(text_of(wire.request.model))).encode())(wire)


def stream(events: list[bytes], then: Script = Wire.end, headers: Mapping[str, str] | None = None) -> Script:
    """A 200 with these bytes as its events, each sent for itself, and then an end or a cut.

    Before a stall they are sent in one piece, since the silence after them is measured.
    """
    sent = [b"".join(events)] if then is Wire.stall and events else events

    async def script(wire: Wire) -> None:
        await wire.head(headers=headers)
        for data in sent:
            await wire.send(data)
        await then(wire)

    return script


def plain(
    body: bytes,
    status: int = 200,
    content_type: str = JSON,
    headers: Mapping[str, str] | None = None,
    missing: int = 0,
    then: Script = Wire.end,
) -> Script:
    """An answer with a length; with `missing` the length promises that many bytes more."""

    async def script(wire: Wire) -> None:
        await wire.head(status, content_type, headers, len(body) + missing)
        await wire.raw(body)
        await then(wire)

    return script


def refuse(status: int, message: str = "injected", headers: Mapping[str, str] | None = None, **fields: Any) -> Script:
    """An error status with OpenAI's body."""
    return plain(json.dumps(error(message, **fields)).encode(), status, headers=headers)


def raw(data: bytes, then: Script = Wire.eof) -> Script:
    """Anything at all instead of an answer."""

    async def script(wire: Wire) -> None:
        await wire.raw(data)
        await then(wire)

    return script


async def drop(wire: Wire) -> None:
    """Close without a word."""
    await wire.eof()


async def reset(wire: Wire) -> None:
    """Reset without a word."""
    await wire.reset()


async def stall(wire: Wire) -> None:
    """Take the request and never answer."""
    await wire.stall()


def endless(repeated: bytes, before: list[bytes] | None = None) -> Script:
    """The same event over and over until the client leaves, after the head and what goes `before`."""

    async def script(wire: Wire) -> None:
        await wire.head()
        for data in before or []:
            await wire.send(data)
        while not wire.gone:
            await wire.send(repeated)
            await asyncio.sleep(0.01)  # a pace, not a wait for anything

    return script


def held(before: list[bytes], after: list[bytes], then: Script = Wire.end) -> Script:
    """A stream that stops after `before` until the test releases it, and then goes on."""

    async def script(wire: Wire) -> None:
        await wire.head()
        for data in before:
            await wire.send(data)
        await wire.hold()
        for data in after:
            await wire.send(data)
        await then(wire)

    return script


async def nothing(wire: Wire) -> None:
    """Leave the answer as it is, for the next script to go on."""


def then(*scripts: Script) -> Script:
    """One after the other, on one wire."""

    async def script(wire: Wire) -> None:
        for step in scripts:
            await step(wire)

    return script


def held_plain(body: bytes) -> Script:
    """An answer with a length, whose body waits until the test releases it."""

    async def script(wire: Wire) -> None:
        await wire.head(content_type=JSON, length=len(body))
        await wire.hold()
        await wire.raw(body)
        await wire.end()

    return script
