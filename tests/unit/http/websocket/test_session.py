"""When the connection of a session ends without its client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest

from proxy.core.principal import UNKNOWN_CALLER
from proxy.http.exchange import Ids
from proxy.http.websocket.session import IDLE_SECONDS, LONGEST_SECONDS, Session
from proxy.surfaces.responses.connection import Remembered
from tests.support.calls import snapshot
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
    return Session(channel, calls, Ids(), lambda: 0.0, Remembered(), headers={}, address=None, query="")


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


class Talking(Quiet):
    """A channel whose client sends some messages, and then nothing."""

    delivering = False

    def __init__(self, *messages: dict[str, Any]) -> None:
        super().__init__(IDLE_SECONDS + 1)
        self._messages = [json.dumps({"type": "response.create", **message}).encode() for message in messages]

    async def receive(self) -> bytes:
        return self._messages.pop(0) if self._messages else await super().receive()


class Answers:
    """Reads each call, and answers it."""

    def __init__(self) -> None:
        self.histories: list[int] = []

    async def run(self, arrival: Any) -> None:
        self.histories.append(arrival.history)
        raw = await arrival.read()
        arrived = {"id": arrival.id, "request_id": "r", "snapshot": snapshot(), "principal": UNKNOWN_CALLER}
        arrival.surface.read(raw, {}, **arrived, path=arrival.path, query="")
        response = {"id": "resp_1", "status": "completed", "output": []}
        event = {"type": "response.completed", "response": response}
        arrival.write(b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n")


async def test_what_a_connection_remembers_is_part_of_the_next_call() -> None:
    calls = Answers()
    first = {"model": "auto", "input": "x" * 1000, "store": False}
    channel = Talking(first, {**first, "input": "y", "previous_response_id": "resp_1"})
    made = session(channel, calls)

    await made.serve()

    assert calls.histories[0] == 0
    assert calls.histories[1] > 1000
    assert made.surface.size == 0
