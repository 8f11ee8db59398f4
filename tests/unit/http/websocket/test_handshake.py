"""The handshake of a WebSocket connection; `tests/e2e/test_websocket.py` has the rest."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from proxy.http.exchange import Ids
from proxy.http.output import CYCLE
from proxy.http.reading import Limits
from proxy.http.websocket.handshake import WebSocketResponses

pytestmark = pytest.mark.anyio

HEADERS = [
    (b"upgrade", b"websocket"),
    (b"sec-websocket-version", b"13"),
    (b"sec-websocket-key", b"AAAAAAAAAAAAAAAAAAAAAA=="),
]


async def test_client_that_has_left_gets_no_answer() -> None:
    unused: Any = None
    endpoint = WebSocketResponses(unused, Limits(max_body=100, body_silence=10.0, write_stall=10.0), Ids(), lambda: 0.0)
    cycle = SimpleNamespace(disconnected=True)  # and no transport that could be taken over
    scope = {"type": "http", "headers": HEADERS, "query_string": b"", "extensions": {CYCLE: cycle}}

    assert await endpoint(scope, unused, unused) is None
