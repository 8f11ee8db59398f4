"""When the connection of a session ends without its client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest

from proxy.http.ids import Ids
from proxy.http.websocket.session import IDLE_SECONDS, LONGEST_SECONDS, Session
from tests.support.clocks import START

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


class Quiet:
    """A channel whose client sends a message every `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.sent: list[Any] = []
        self.codes: list[int] = []
        self.on_end = None

    async def receive(self) -> bytes:
        await asyncio.sleep(self.seconds)
        return b"{}"

    def send(self, texts: Iterable[bytes]) -> bool:
        self.sent += [json.loads(text) for text in texts]
        return True

    def close(self, code: int, reason: str) -> None:
        self.codes.append(code)


class Calls:
    """Counts calls."""

    count = 0

    async def run(self, arrival: Any) -> None:
        self.count += 1


def session(channel: Any, calls: Any) -> Session:
    return Session(channel, calls, Ids(), lambda: 0.0, headers={}, address=None, query="")


async def test_an_idle_connection_is_closed() -> None:
    channel, calls = Quiet(IDLE_SECONDS + 1), Calls()

    await session(channel, calls).serve()

    assert asyncio.get_running_loop().time() == pytest.approx(START + IDLE_SECONDS)
    assert (channel.codes, channel.sent, calls.count) == ([1000], [], 0)


async def test_a_connection_is_closed_after_an_hour() -> None:
    channel, calls = Quiet(IDLE_SECONDS - 1), Calls()

    await session(channel, calls).serve()

    assert asyncio.get_running_loop().time() == pytest.approx(START + LONGEST_SECONDS)
    assert calls.count == LONGEST_SECONDS // (IDLE_SECONDS - 1)
    [message] = channel.sent
    assert (message["type"], message["error"]["code"]) == ("error", "websocket_connection_limit_reached")
    assert channel.codes == [1000]
