"""What is on its way to the client when it leaves, with a server's `send` that the test holds back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from starlette.types import Message

from proxy.core.wire import Reply
from proxy.http.callers import Callers
from proxy.http.exchange import COMMENT, Exchange
from proxy.http.ids import Ids
from proxy.http.reading import Limits
from tests.support.clocks import VIRTUAL, VirtualClock, idle

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> Any:
    return VIRTUAL


class Scripted:
    """A pipeline that answers with one chunk, when told to; at the end it notes what was still on its way."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.delivering: bool | None = None

    @asynccontextmanager
    async def open(self, arrival: Any) -> AsyncIterator[Reply]:
        await arrival.read()
        try:
            yield Reply(200, {"content-type": "text/event-stream"}, self._chunks(), stream=True)
        finally:
            self.delivering = arrival.delivering

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        await self.go_on.wait()
        yield b"data: last\n\n"


class Client:
    """One that sends its request and takes each message only when the test lets it."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, asyncio.Event]] = []
        self.gone = asyncio.Event()
        self._asked = False

    async def receive(self) -> Message:
        if self._asked:
            await self.gone.wait()
            return {"type": "http.disconnect"}
        self._asked = True
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            self.sent.append((message["body"], taken := asyncio.Event()))
            await taken.wait()


async def test_a_sent_comment_does_not_count_as_the_next_chunk() -> None:
    clock, pipeline, client = VirtualClock(), Scripted(), Client()
    limits = Limits(max_body=100, body_silence=30.0, write_stall=1000.0, keep_alive=15.0)
    exchange = Exchange(pipeline, None, limits, Ids(), Callers(), clock)  # type: ignore[arg-type]

    async with anyio.create_task_group() as group:
        group.start_soon(exchange, {"type": "http", "headers": []}, client.receive, client.send)
        await clock.advance(16.0)
        pipeline.go_on.set()
        await idle()
        [(comment, taken), (chunk, _)] = client.sent
        taken.set()
        await idle()
        client.gone.set()

    assert (comment, chunk) == (COMMENT, b"data: last\n\n")
    assert pipeline.delivering is True
