"""Reader of request bodies, with limits on size, on pauses and on the total time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.types import Receive

from proxy.admission.watermark import BodyMemory, Watermark
from proxy.core.errors import InvalidRequest, RequestTimeout, RequestTooLarge
from proxy.upstream.deadline import Deadline, Deadlines

MIN_RATE = 64 * 1024  # bytes per second; a larger body may take longer
_TOTAL_FACTOR = 3  # times `body_silence`: the total time, plus that of `MIN_RATE`
_DIGITS = re.compile(r"[0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for one client; sizes in bytes, times in seconds."""

    max_body: int
    body_silence: float  # between two pieces of a body
    write_stall: float  # of a client that reads nothing
    keep_alive: float = 0.0  # silence of a stream after which a comment is written; 0: never
    early_comments: float = 0.0  # time after which a stream without content is opened with a comment; 0: never
    watermark: Watermark | None = None  # admits or rejects large bodies; `None`: memory is not watched
    deadlines: Deadlines = field(default_factory=Deadlines, repr=False, compare=False)  # of bodies

    def check(self, headers: Mapping[str, str], size: int) -> None:
        """Check a body of `size` bytes. Raises `InvalidRequest` if it is compressed, `RequestTooLarge`."""
        encoding = headers.get("content-encoding")
        if encoding is not None and encoding.strip().lower() != "identity":
            message = "Compressed bodies are not supported; send the body without `content-encoding`."
            raise InvalidRequest(message, param="body")
        if size > self.max_body:
            raise RequestTooLarge(f"The body is larger than {self.max_body} bytes (`server.max_body`).")


class ClientGone(Exception):
    """The client disconnected before its request was complete."""


async def read_body(receive: Receive, headers: Mapping[str, str], limits: Limits) -> bytes:
    """Return the whole body; `headers` have lower-case names.

    Raises `RequestTooLarge`, `RequestTimeout`, `Unavailable` without enough memory, `InvalidRequest` if it is
    compressed, or `ClientGone`.
    """
    declared = headers.get("content-length", "")
    size = int(declared) if _DIGITS.fullmatch(declared) else 0
    limits.check(headers, size)
    memory = BodyMemory(limits.watermark)
    try:
        memory.cover(size)
        return await _pieces(receive, headers, limits, memory)
    finally:
        memory.release()


async def _pieces(receive: Receive, headers: Mapping[str, str], limits: Limits, memory: BodyMemory) -> bytes:
    body: bytes | bytearray = b""
    more = True
    now, silence = asyncio.get_running_loop().time, limits.body_silence
    deadline = Deadline(silence, limits.deadlines)
    last = now() + _TOTAL_FACTOR * silence  # the end for a body of no bytes
    try:
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            body += message.get("body", b"")
            limits.check(headers, len(body))
            if len(body) > memory.covered:  # of unknown length
                memory.cover(min(2 * len(body), limits.max_body))
            more = message.get("more_body", False)
            if more:
                body = bytearray(body) if isinstance(body, bytes) else body  # to which the rest is added in place
                deadline.end = min(now() + silence, last + len(body) / MIN_RATE)
    except asyncio.CancelledError:
        if not deadline.expired():
            raise
        if deadline.end < last + len(body) / MIN_RATE:
            text = f"No data of the request's body arrived for {silence:g} s."
        else:
            text = "The request's body arrived too slowly; send it faster, or send less."
        raise RequestTimeout(text) from None
    finally:
        deadline.stop()
    return bytes(body)


class BodyReader:
    """Reads bodies for ordinary endpoints."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    async def __call__(self, request: Request) -> bytes:
        """Return the whole body of `request`. Raises the errors of `read_body`."""
        return await read_body(request.receive, request.headers, self._limits)
