"""The server's protocol, without a socket; `tests/e2e/test_protocol.py` has the rest."""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from proxy.http.protocol import WRITE_BUFFER, protocol_class


class Transport(asyncio.Transport):
    high: int | None = None

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Nothing is called."""


async def test_answers_pause_while_the_client_leaves_much_unread() -> None:
    protocol = protocol_class(10.0, 60.0)(uvicorn.Config(app), ServerState(), {})
    transport = Transport()

    protocol.connection_made(transport)
    protocol.connection_lost(None)

    assert transport.high == WRITE_BUFFER
