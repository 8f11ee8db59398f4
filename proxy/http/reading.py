"""Reads a request's body, within a limit for its size, for silence and for the time that all of it takes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass

import anyio
from starlette.requests import Request
from starlette.types import Receive

from proxy.admission.watermark import BodyMemory, Watermark
from proxy.core.errors import InvalidRequest, RequestTimeout, RequestTooLarge

MIN_RATE = 64 * 1024  # bytes a second: a body may take longer the larger it is
_PATIENCE = 3  # times `body_silence`, for any body
_DIGITS = re.compile(r"[0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may cost us; sizes in bytes, times in seconds."""

    max_body: int
    body_silence: float  # between two pieces of a body
    write_stall: float  # of a client that has stopped reading
    keep_alive: float = 0.0  # of a stream, until a comment goes out; 0: none does
    early_comments: float = 0.0  # until a stream without content is opened with a comment; 0: never
    watermark: Watermark | None = None  # has memory for large bodies, or rejects them; `None`: memory is not watched


class ClientGone(Exception):
    """The client hung up before its request was whole."""


async def read_body(receive: Receive, headers: Mapping[str, str], limits: Limits) -> bytes:
    """The whole body; `headers` have lower-case names.

    Raises `RequestTooLarge`, `RequestTimeout`, `Unavailable` without enough memory, `InvalidRequest` if it is
    compressed, or `ClientGone`.
    """
    encoding = headers.get("content-encoding", "identity")
    if encoding.strip().lower() != "identity":
        raise InvalidRequest("Compressed bodies are not taken; send it without `content-encoding`.", param="body")
    declared = headers.get("content-length", "")
    size = int(declared) if _DIGITS.fullmatch(declared) else 0
    if size > limits.max_body:
        raise _too_large(limits)
    memory = BodyMemory(limits.watermark)
    try:
        memory.cover(size)
        return await _pieces(receive, limits, memory)
    finally:
        memory.release()


async def _pieces(receive: Receive, limits: Limits, memory: BodyMemory) -> bytes:
    body = bytearray()
    more = True
    now = asyncio.get_running_loop().time
    deadline = now() + _PATIENCE * limits.body_silence
    while more:
        left = deadline + len(body) / MIN_RATE - now()
        with anyio.move_on_after(min(limits.body_silence, left)) as patience:
            message = await receive()
        if patience.cancelled_caught:
            if left > limits.body_silence:
                raise RequestTimeout(f"The request's body did not come: nothing for {limits.body_silence:g} s.")
            raise RequestTimeout("The request's body came too slowly; send it faster, or send less.")
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > limits.max_body:
            raise _too_large(limits)
        if len(body) > memory.covered:  # of unknown length
            memory.cover(min(2 * len(body), limits.max_body))
        more = message.get("more_body", False)
    return bytes(body)


class BodyReader:
    """The same for ordinary endpoints."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    async def __call__(self, request: Request) -> bytes:
        """The whole body of `request`; raises as `read_body`."""
        return await read_body(request.receive, request.headers, self._limits)


def _too_large(limits: Limits) -> RequestTooLarge:
    return RequestTooLarge(f"The body is larger than {limits.max_body} bytes (`server.max_body`).")
