"""A connection over a transport that records what is written."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.frames import Frame
from websockets.frames import Opcode as Reference

from proxy.http.reading import Limits
from proxy.http.websocket.channel import CLOSE_SECONDS, DEAD_SECONDS, PING_SECONDS, Channel

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


class Wire:
    """The connection of a request: its cycle, its transport, and its HTTP protocol."""

    def __init__(self) -> None:
        self.written = b""
        self.delivering = False
        self.ended = ""
        self.protocol: Any = self

    def take_over(self) -> Any:
        return self

    def get_protocol(self) -> Any:
        return self

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return bool(self.ended)

    def write_eof(self) -> None:
        self.written += b" end"

    def close(self) -> None:
        self._end("closed")

    def abort(self) -> None:
        self._end("aborted")

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended += ", as HTTP knows"

    def _end(self, how: str) -> None:
        if not self.ended:
            self.ended = how
            self.protocol.connection_lost(None)


def opened() -> tuple[Channel, Wire]:
    wire: Any = Wire()
    channel = Channel(wire, Limits(max_body=1000, body_silence=10, write_stall=10))
    channel.open(b"head ")
    return channel, wire


def client(opcode: Reference, payload: bytes = b"") -> bytes:
    return Frame(opcode, payload).serialize(mask=True)


async def test_texts_are_received_in_order() -> None:
    channel, _ = opened()
    channel.data_received(client(Reference.TEXT, b"one") + client(Reference.TEXT, b"two"))

    assert [await channel.receive(), await channel.receive()] == [b"one", b"two"]


async def test_a_silent_client_is_asked_and_then_left() -> None:
    _, wire = opened()
    await asyncio.sleep(PING_SECONDS + 1)
    pinged = wire.written
    await asyncio.sleep(DEAD_SECONDS)

    assert pinged == b"head \x89\x00"
    assert wire.ended == "aborted, as HTTP knows"


async def test_a_client_that_answers_is_not_left() -> None:
    channel, wire = opened()
    for _ in range(20):
        await asyncio.sleep(PING_SECONDS)
        channel.data_received(client(Reference.PONG))

    assert wire.ended == ""
    channel.abort()


async def test_a_close_is_answered() -> None:
    channel, wire = opened()
    left: list[str] = []
    channel.on_end = lambda: left.append("left")
    channel.data_received(client(Reference.CLOSE, b"\x03\xe8"))

    assert wire.written == b"head \x88\x02\x03\xe8"
    assert (wire.ended, left) == ("closed, as HTTP knows", ["left"])
    assert await channel.receive() is None
    await channel.closed()


async def test_a_client_that_does_not_close_is_left() -> None:
    channel, wire = opened()
    channel.close(1001, "bye")
    channel.data_received(client(Reference.TEXT, b"more"))
    channel.close(1000)
    before = wire.ended
    await asyncio.sleep(CLOSE_SECONDS + 1)

    assert (before, wire.ended) == ("", "aborted, as HTTP knows")
    assert wire.written == b"head \x88\x05\x03\xe9bye end"
    assert await channel.receive() is None
    assert channel.send([b"late"])
    assert wire.written.endswith(b"bye end")


async def test_a_client_that_reads_nothing_gets_no_pongs() -> None:
    channel, wire = opened()
    channel.data_received(client(Reference.PING, b"1"))
    wire.delivering = True
    channel.data_received(client(Reference.PING, b"2"))

    assert wire.written == b"head \x8a\x011"
    assert not channel.send([b"x"])
    channel.abort()
