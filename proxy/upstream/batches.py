"""One attempt as several requests, for inputs that a provider takes in batches: the answers become one.

Only a request with `further` bodies comes here, such as more than 100 texts for Gemini's embeddings.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from msgspec import structs

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.wire import UpstreamRequest
from proxy.upstream.transport import Response, Transport

LIMIT = 64 * 1024 * 1024  # bytes of all answers


async def send_batches(transport: Transport, request: UpstreamRequest, answered: Callable[[], None]) -> Response:
    """Send all bodies one after another and return the last response with the bodies of all answers, in order.

    The first answer that is not a 2xx is returned as it is, and nothing is sent after it. `answered` is called when the
    first body has an answer: from then on the attempt costs something. Raises `UpstreamFailure`.
    """
    bodies: list[bytes] = []
    contents = (request.content, *request.further)
    for number, content in enumerate(contents, 1):
        response = await transport.send(structs.replace(request, content=content, further=()))
        accepted = 200 <= response.status < 300
        if number == len(contents) or not accepted:
            chunks = _after(bodies if accepted else [], response)
            return Response(response.status, response.headers, chunks, close=response.aclose)
        async with aclosing(response):
            answered()
            bodies.append(await _read(response, LIMIT - sum(map(len, bodies))))
    raise AssertionError("a request has a body")


async def _after(bodies: list[bytes], response: Response) -> AsyncGenerator[bytes, None]:
    for body in bodies:
        yield body
    while chunk := await response.read():
        yield chunk


async def _read(response: Response, limit: int) -> bytes:
    body = bytearray()
    while chunk := await response.read():
        body += chunk
        if len(body) > limit:
            raise UpstreamFailure(FailureKind.MALFORMED, f"the upstream's answers are larger than {LIMIT} bytes")
    return bytes(body)
