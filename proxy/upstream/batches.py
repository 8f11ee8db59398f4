"""One attempt as several requests, for inputs that a provider takes in batches: the answers become one.

Only a request with `further` bodies comes here, such as more than 100 texts for Gemini's embeddings.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.wire import UpstreamRequest, UpstreamResponse
from proxy.upstream.transport import Transport

LIMIT = 64 * 1024 * 1024  # bytes of all answers


@asynccontextmanager
async def send_batches(transport: Transport, request: UpstreamRequest) -> AsyncIterator[UpstreamResponse]:
    """Send all bodies one after another and yield the last response with the bodies of all answers, in order.

    The first answer that is not a 2xx is yielded as it is, and nothing is sent after it. Raises `UpstreamFailure`.
    """
    bodies: list[bytes] = []
    contents = (request.content, *request.further)
    for number, content in enumerate(contents, 1):
        async with transport.send(replace(request, content=content, further=())) as response:
            if number == len(contents) or not 200 <= response.status < 300:
                whole = bodies if 200 <= response.status < 300 else []
                yield replace(response, chunks=_after(whole, response.chunks))
                return
            bodies.append(await _read(response.chunks, LIMIT - sum(map(len, bodies))))


async def _after(bodies: list[bytes], chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    for body in bodies:
        yield body
    async with aclosing(chunks):
        async for chunk in chunks:
            yield chunk


async def _read(chunks: AsyncGenerator[bytes, None], limit: int) -> bytes:
    body = bytearray()
    async with aclosing(chunks):
        async for chunk in chunks:
            body += chunk
            if len(body) > limit:
                raise UpstreamFailure(FailureKind.MALFORMED, f"the upstream's answers are larger than {LIMIT} bytes")
    return bytes(body)
