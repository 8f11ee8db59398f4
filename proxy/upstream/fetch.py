"""Fetches a small document, such as the keys of a token issuer."""

from __future__ import annotations

import asyncio

from proxy.core.wire import UpstreamRequest
from proxy.upstream.transport import Transport

MAX_SECONDS = 5.0
MAX_BYTES = 256 * 1024
_HEADERS = {"accept": "application/json", "user-agent": "signalbox"}


async def fetch(transport: Transport, url: str) -> bytes:
    """Return the body of the answer to `GET url`; a redirect is not followed.

    Raises `ValueError` for another status than 200 and for a body that is too large, `TimeoutError`, and what the
    transport raises.
    """
    request = UpstreamRequest(url, _HEADERS, b"", connect_timeout=MAX_SECONDS, method="GET")
    async with asyncio.timeout(MAX_SECONDS):
        response = await transport.send(request)
        try:
            if response.status != 200:
                raise ValueError(f"status {response.status}")
            body = bytearray()
            while piece := await response.read():
                body += piece
                if len(body) > MAX_BYTES:
                    raise ValueError(f"more than {MAX_BYTES} bytes")
            return bytes(body)
        finally:
            await response.aclose()
