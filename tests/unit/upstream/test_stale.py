"""When a stream calls itself stale, with a network that does what a script says."""

# ruff: noqa: ASYNC109 (the parameter is httpcore's)

from __future__ import annotations

import ssl
from typing import Any

import anyio
import httpcore
import pytest

from proxy.upstream.stale import KnowingStream, Stale

pytestmark = pytest.mark.anyio

Piece = bytes | Exception


class Scripted(httpcore.AsyncNetworkStream):
    """Reads give the pieces, writes are remembered."""

    def __init__(self, *pieces: Piece) -> None:
        self.pieces = list(pieces)
        self.written: list[bytes] = []
        self.closed = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        piece = self.pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.written.append(buffer)

    async def aclose(self) -> None:
        self.closed = True

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        return self

    def get_extra_info(self, info: str) -> Any:
        return f"told of {info}"


def caused_by(cause: BaseException) -> httpcore.ReadError:
    """As httpcore and anyio nest them."""
    broken = anyio.BrokenResourceError()
    broken.__cause__ = cause
    error = httpcore.ReadError("x")
    error.__cause__ = broken
    return error


async def used_once(*pieces: Piece) -> KnowingStream:
    """A stream on which one request was answered and the next one written."""
    stream = KnowingStream(Scripted(b"an answer", *pieces))
    await stream.write(b"a head")
    await stream.write(b"a body")
    await stream.read(100)
    await stream.write(b"a head")
    await stream.write(b"a body")
    return stream


@pytest.mark.parametrize(
    "end",
    [
        b"",
        caused_by(ConnectionResetError()),
        caused_by(BrokenPipeError()),
        caused_by(ConnectionAbortedError()),
        httpcore.ReadError("closed"),
    ],
    ids=["eof", "rst", "epipe", "aborted", "without a cause"],
)
async def test_a_used_connection_that_ends_without_a_byte_is_stale(end: Piece) -> None:
    stream = await used_once(end)

    with pytest.raises(Stale):
        await stream.read(100)


@pytest.mark.parametrize(
    "end",
    [caused_by(TimeoutError()), caused_by(OSError("no route")), httpcore.ReadTimeout("late")],
    ids=["timeout of the socket", "another fault", "timeout of the reader"],
)
async def test_a_timeout_is_not_a_stale_connection(end: Exception) -> None:
    stream = await used_once(end)

    with pytest.raises((httpcore.ReadError, httpcore.ReadTimeout)) as failed:
        await stream.read(100)

    assert not isinstance(failed.value, Stale)


async def test_a_connection_of_its_own_is_never_stale() -> None:
    stream = KnowingStream(Scripted(caused_by(ConnectionResetError()), b""))
    await stream.write(b"a head")
    await stream.write(b"a body")

    with pytest.raises(httpcore.ReadError) as failed:
        await stream.read(100)

    assert not isinstance(failed.value, Stale)
    assert await stream.read(100) == b""


async def test_an_answer_that_has_begun_is_never_stale() -> None:
    stream = await used_once(b"H", b"", caused_by(ConnectionResetError()))

    assert await stream.read(100) == b"H"
    assert await stream.read(100) == b""
    with pytest.raises(httpcore.ReadError) as failed:
        await stream.read(100)

    assert not isinstance(failed.value, Stale)


async def test_what_a_proxy_answered_does_not_count_for_the_connection_inside() -> None:
    outer = KnowingStream(Scripted(b"200 OK", b""))
    await outer.write(b"CONNECT")
    await outer.read(100)

    inner = await outer.start_tls(ssl.create_default_context())
    await inner.write(b"a head")

    assert await inner.read(100) == b""


async def test_everything_else_is_the_inner_stream_s() -> None:
    inner = Scripted()
    stream = KnowingStream(inner)

    await stream.write(b"")
    await stream.aclose()

    assert (inner.written, inner.closed) == ([b""], True)
    assert stream.get_extra_info("is_readable") == "told of is_readable"
