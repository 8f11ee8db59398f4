"""Several requests for one attempt."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from proxy.core.failures import UpstreamFailure
from proxy.core.wire import UpstreamRequest
from proxy.upstream import batches
from proxy.upstream.batches import send_batches
from proxy.upstream.transport import Response
from tests.support.fakes import whole

REQUEST = UpstreamRequest("http://x.test/", {}, b"1", 1.0, further=(b"2", b"3"))


class Echo:
    """Answers with the request's own body in two chunks; `statuses` by body, else 200."""

    def __init__(self, **statuses: int) -> None:
        self.sent: list[UpstreamRequest] = []
        self.open = 0
        self.answered = 0
        self._statuses = statuses

    async def send(self, request: UpstreamRequest) -> Response:
        async def chunks() -> AsyncGenerator[bytes, None]:
            yield b"<"
            yield request.content + b">"

        self.sent.append(request)
        self.open += 1
        return Response(self._statuses.get(f"body{request.content.decode()}", 200), {}, chunks(), close=self._closed)

    def note(self) -> None:
        """Count an answer that costs something."""
        self.answered += 1

    async def _closed(self) -> None:
        self.open -= 1


async def read(transport: Echo) -> tuple[int, bytes]:
    async with aclosing(await send_batches(transport, REQUEST, transport.note)) as response:
        return response.status, await whole(response)


async def test_the_bodies_of_all_answers_are_joined_in_order() -> None:
    transport = Echo()

    assert await read(transport) == (200, b"<1><2><3>")
    assert [(request.content, request.further) for request in transport.sent] == [(b"1", ()), (b"2", ()), (b"3", ())]
    assert transport.open == 0


async def test_nothing_is_sent_after_an_answer_that_is_an_error() -> None:
    transport = Echo(body2=429)

    assert await read(transport) == (429, b"<2>")
    assert [request.content for request in transport.sent] == [b"1", b"2"]
    assert transport.answered == 1


async def test_a_first_answer_that_is_an_error_costs_nothing() -> None:
    transport = Echo(body1=429)

    assert await read(transport) == (429, b"<1>")
    assert transport.answered == 0


async def test_answers_that_are_too_large_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "LIMIT", 5)
    transport = Echo()

    with pytest.raises(UpstreamFailure, match="larger than"):
        await read(transport)
    assert transport.open == 0
