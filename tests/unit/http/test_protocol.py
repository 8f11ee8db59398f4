"""The server's protocol, without a socket; `tests/e2e/test_protocol.py` has the rest."""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from proxy.http.output import CYCLE
from proxy.http.protocol import WRITE_BUFFER, protocol_class

REQUEST = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"


class Transport(asyncio.Transport):
    high: int | None = None

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closing = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 0


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer 200 without a body."""
    cycle = scope["extensions"][CYCLE]
    cycle.start(200, [], 0)
    cycle.finish()


def made(app: Any = app) -> tuple[Any, Transport]:
    """A protocol with a connection."""
    config = uvicorn.Config(app)
    config.load()
    protocol = protocol_class(10.0, 60.0)(config, ServerState(), {})
    transport = Transport()
    protocol.connection_made(transport)
    return protocol, transport


async def turns() -> None:
    """Let the event loop run what is ready, and what follows from it."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_answers_pause_while_the_client_leaves_much_unread() -> None:
    protocol, transport = made()

    protocol.connection_lost(None)

    assert transport.high == WRITE_BUFFER


async def test_the_next_request_waits_until_the_answer_is_taken() -> None:
    protocol, transport = made()

    protocol.data_received(REQUEST)
    await turns()
    protocol.pause_writing()
    protocol.data_received(REQUEST)
    await turns()
    before = transport.written.count(b"200 OK")
    protocol.resume_writing()
    await turns()
    protocol.connection_lost(None)

    assert (before, transport.written.count(b"200 OK")) == (1, 2)


async def test_a_reset_ends_the_keep_alive_timer() -> None:
    protocol, _ = made()

    protocol.data_received(REQUEST)
    await turns()
    timer = protocol.timeout_keep_alive_task
    protocol.connection_lost(ConnectionResetError())

    assert timer.cancelled()


async def test_absolute_target_without_a_path_is_the_root() -> None:
    paths: list[str] = []

    async def record(scope: Any, receive: Any, send: Any) -> None:
        paths.append(scope["path"])
        await app(scope, receive, send)

    protocol, transport = made(record)
    protocol.data_received(b"GET http://localhost HTTP/1.1\r\nhost: localhost\r\n\r\n")
    await asyncio.sleep(0)

    assert (paths, transport.written[:12]) == (["/"], b"HTTP/1.1 200")
