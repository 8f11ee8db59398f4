"""Bodies that arrive in pieces, too slowly, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
from starlette.types import Message

from proxy.core.errors import RequestTimeout, RequestTooLarge
from proxy.http.reading import ClientGone, Limits, read_body

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

LIMITS = Limits(max_body=100, body_silence=10.0, write_stall=10.0)


async def read(pieces: Iterable[bytes | None], pause: float = 0.0) -> bytes:
    """The body that is read of these pieces, one after each pause; `None` is a disconnect."""
    messages = [
        {"type": "http.request", "body": piece, "more_body": True} if piece is not None else {"type": "http.disconnect"}
        for piece in pieces
    ]
    messages[-1]["more_body"] = False
    left = iter(messages)

    async def receive() -> Message:
        await asyncio.sleep(pause)
        return next(left)

    return await read_body(receive, {}, LIMITS)


@pytest.mark.parametrize("pieces", [[b""], [b"abc"], [b"a", b"b", b"c"], [b"abc", b""], [b"", b"abc"]])
async def test_body_is_that_of_its_pieces(pieces: list[bytes]) -> None:
    body = await read(pieces)

    assert (type(body), body) == (bytes, b"".join(pieces))


async def test_slow_pieces_are_read_within_the_total_time() -> None:
    assert await read([b"a", b"b", b"c"], 9.0) == b"abc"


async def test_body_without_data_for_too_long_times_out() -> None:
    with pytest.raises(RequestTimeout, match="No data of the request's body arrived for 10 s"):
        await read([b"a"], 11.0)


async def test_body_that_takes_too_long_in_all_times_out() -> None:
    with pytest.raises(RequestTimeout, match="too slowly"):
        await read([b"a"] * 6, 9.0)


async def test_body_above_the_limit_is_rejected() -> None:
    with pytest.raises(RequestTooLarge):
        await read([b"a" * 60, b"b" * 60])


async def test_disconnect_ends_the_reading() -> None:
    with pytest.raises(ClientGone):
        await read([b"a", None])


async def test_cancellation_is_no_timeout() -> None:
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(read([b"a"], 5.0))
        await asyncio.sleep(1.0)
        reading.cancel()

    assert reading.cancelled()
