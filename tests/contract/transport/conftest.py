"""Both transports, on both event loops."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.upstream.net.transport import NetTransport
from proxy.upstream.proxied import HttpxTransport

TRANSPORTS = {"net": NetTransport, "httpx": HttpxTransport}


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """The server runs on uvloop; the other loop shows that nothing leans on it."""
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture(params=TRANSPORTS)
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[NetTransport | HttpxTransport]:
    """Each of the transports."""
    made = TRANSPORTS[request.param]()
    yield made
    await made.aclose()


@pytest.fixture
async def net() -> AsyncIterator[NetTransport]:
    """Our own transport, for what httpx does not promise."""
    made = NetTransport()
    yield made
    await made.aclose()
