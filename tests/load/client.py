"""A plain client: it keeps connections alive, reads answers to the byte, and retries nothing.

`Client.chat` never raises for what a server does; what happened is in the `Answer`. `at_rate` is the open loop (calls
start at their moment, however slow the answers are), `in_parallel` the closed one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import anyio

from proxy.core.clock import SystemClock
from tests.load.scripted import is_beginning, is_whole

_CLOCK = SystemClock()
_LARGEST = 1 << 26
Link = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Answer:
    """What a client received; times are of the monotonic clock."""

    started: float
    stream: bool
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""  # not of streams
    text: str = ""
    finish: str | None = None
    done: bool = False  # `[DONE]` came
    comments: int = 0  # keep-alive comments of a stream
    error: dict[str, Any] | None = None
    torn: str | None = None  # the connection ended in the middle
    first: float | None = None  # the first content
    ended: float = 0.0

    @property
    def looks_whole(self) -> bool:
        """Whether a client would accept it as an answer."""
        if self.status != 200 or self.error or self.torn:
            return False
        return self.finish is not None and (self.done or not self.stream)

    @property
    def ok(self) -> bool:
        """Whether it is the complete answer of the upstream."""
        return self.looks_whole and is_whole(self.text)

    @property
    def lie(self) -> bool:
        """Whether it looks like an answer, or its beginning, but is not what the upstream sent."""
        return (self.looks_whole and not is_whole(self.text)) or bool(self.text and not is_beginning(self.text))

    @property
    def broken(self) -> bool:
        """Whether it is a stream that had content and ended with an error event."""
        return self.stream and self.status == 200 and bool(self.text) and bool(self.error) and not self.done

    @property
    def code(self) -> str | None:
        """The error's code."""
        return self.error.get("code") if self.error else None

    @property
    def seconds(self) -> float:
        """From the request to the answer's end."""
        return self.ended - self.started


def chat_body(model: str, content: str = "hi", *, stream: bool = False, **fields: Any) -> dict[str, Any]:
    """Return the body of a chat call."""
    return {"model": model, "messages": [{"role": "user", "content": content}], "stream": stream, **fields}


def request_bytes(
    method: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> bytes:
    """Return the bytes of a request."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", f"content-length: {len(content)}"]
    lines += ["content-type: application/json"] if content else []
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


class Client:
    """Calls one server, with as many connections as there are concurrent calls."""

    def __init__(self, url: str, timeout: float = 60.0) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname, parts.port)
        self._timeout = timeout
        self._idle: list[Link] = []

    async def chat(self, model: str, content: str = "hi", *, stream: bool = False, **fields: Any) -> Answer:
        """Make a chat call and return its answer."""
        request = request_bytes("POST", "/v1/chat/completions", chat_body(model, content, stream=stream, **fields))
        return await self.call(request, stream=stream)

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Make a GET request."""
        return await self.call(request_bytes("GET", path, headers=headers))

    async def call(self, request: bytes, *, stream: bool = False) -> Answer:
        """Send any request and return its answer."""
        answer = Answer(_CLOCK.monotonic(), stream)
        link: Link | None = None
        try:
            async with asyncio.timeout(self._timeout):
                link = self._idle.pop() if self._idle else await self.connect()
                link[1].write(request)
                await _read(link[0], answer)
        except (OSError, EOFError, TimeoutError, ValueError) as exc:
            answer.torn = type(exc).__name__
        answer.ended = _CLOCK.monotonic()
        if link is not None:
            self._keep(link, answer)
        return answer

    async def connect(self, source: str | None = None) -> Link:
        """Return a fresh connection, from the address `source` if it is given."""
        local = (source, 0) if source else None
        return await asyncio.open_connection(*self._address, limit=_LARGEST, local_addr=local)

    @asynccontextmanager
    async def sent(self, request: bytes) -> AsyncIterator[Link]:
        """Yield a fresh connection on which `request` was sent; it is closed in the end."""
        reader, writer = await self.connect()
        try:
            writer.write(request)
            yield reader, writer
        finally:
            writer.close()

    def close(self) -> None:
        """Close the idle connections."""
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()

    def _keep(self, link: Link, answer: Answer) -> None:
        if answer.torn or answer.headers.get("connection") == "close":
            link[1].close()
        else:
            self._idle.append(link)


async def _read(reader: asyncio.StreamReader, answer: Answer) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    answer.status = int(head[0].split(" ")[1])
    answer.headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:]) if name
    }
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        await _read_events(reader, answer)
        return
    answer.body = b"".join([piece async for piece in _pieces(reader, answer)])
    if answer.headers.get("content-type", "").startswith("application/json"):
        _take_body(answer, json.loads(answer.body))


async def _pieces(reader: asyncio.StreamReader, answer: Answer) -> AsyncIterator[bytes]:
    if answer.headers.get("transfer-encoding") != "chunked":
        yield await reader.readexactly(int(answer.headers.get("content-length", "0")))
        return
    while size := int(await reader.readuntil(b"\r\n"), 16):
        yield (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)


async def _read_events(reader: asyncio.StreamReader, answer: Answer) -> None:
    rest = b""
    async for piece in _pieces(reader, answer):
        *events, rest = (rest + piece).split(b"\n\n")
        for event in events:
            _take_event(answer, event)
    if rest:
        answer.torn = "half an event"


def _take_event(answer: Answer, event: bytes) -> None:
    if not event.startswith(b"data: "):
        answer.comments += event.startswith(b":")
        return
    data = event.removeprefix(b"data: ")
    if data == b"[DONE]":
        answer.done = True
        return
    value = json.loads(data)
    if value.get("error"):
        answer.error = value["error"]
    for choice in value.get("choices", ()):
        if text := choice["delta"].get("content"):
            answer.first = answer.first or _CLOCK.monotonic()
            answer.text += text
        answer.finish = choice.get("finish_reason") or answer.finish


def _take_body(answer: Answer, value: Any) -> None:
    if not isinstance(value, dict):
        return
    answer.error = value.get("error")
    for choice in value.get("choices", ()):
        answer.text += choice["message"]["content"]
        answer.finish = choice["finish_reason"]


async def at_rate(rate: float, seconds: float, call: Callable[[int], Coroutine[Any, Any, object]]) -> None:
    """Start `call(0)`, `call(1)`, ... at a fixed rate, however slow earlier ones are; then wait for all."""
    began = _CLOCK.monotonic()
    async with anyio.create_task_group() as group:
        for number in range(round(rate * seconds)):
            await anyio.sleep(max(0.0, began + number / rate - _CLOCK.monotonic()))
            group.start_soon(call, number)


async def in_parallel(count: int, width: int, call: Callable[[int], Coroutine[Any, Any, object]]) -> None:
    """Run `call(0)` to `call(count - 1)`, `width` of them at a time."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await call(number)

    async with anyio.create_task_group() as group:
        for _ in range(width):
            group.start_soon(work)
