"""Reads a response to its commit point, after which no other target can answer the call.

Until then the client's bytes are held back, so that a failure leads to a retry or fallback unseen by the client.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.core.failures import UpstreamFailure
from proxy.dialects.base import Decoder
from proxy.upstream.transport import Response


async def until_commit(decoder: Decoder, response: Response) -> None:
    """Read to the commit point, or to the end. Raises `UpstreamFailure` if the answer fails before it."""
    held, ended, broken = await read_to_commit(decoder, response)
    if ended and broken is None:
        finished(decoder, held)


async def read_to_commit(
    decoder: Decoder, response: Response, alive: Callable[[], None] | None = None
) -> tuple[bytes, bool, UpstreamFailure | None]:
    """Return the client's bytes up to the commit point, whether the body has ended, and how it broke off, if it did.

    `alive` is called for each piece. Raises `UpstreamFailure` if the answer fails before the commit point.
    """
    held = b""
    try:
        while not response.ended and (chunk := await response.read()):
            if alive is not None:
                alive()
            held += decoder.feed(chunk)
            if decoder.committed:
                return held, False, None
    except UpstreamFailure as failure:
        return _partial(decoder, held, failure), True, failure
    return held, True, None


def finished(decoder: Decoder, held: bytes) -> tuple[bytes, UpstreamFailure | None]:
    """Add what the end of the body gives; the failure if the answer broke off behind its commit point."""
    try:
        return held + decoder.finish(), None
    except UpstreamFailure as failure:
        return _partial(decoder, held, failure), failure


def _partial(decoder: Decoder, held: bytes, failure: UpstreamFailure) -> bytes:
    """Return the whole bytes before a failure behind the commit point; a failure before it is raised."""
    if not decoder.committed:
        raise failure
    partial, failure.partial = failure.partial, b""
    return held + partial


async def read_error(response: Response, limit: int) -> bytes:
    """Return at most `limit` bytes of an error's body; a broken body ends early."""
    body = bytearray()
    try:
        while len(body) < limit and (chunk := await response.read()):
            body += chunk
    except UpstreamFailure:
        pass
    return bytes(body[:limit])
