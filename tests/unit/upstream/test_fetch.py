"""Small documents are fetched with bounds."""

from __future__ import annotations

import pytest

from proxy.upstream.fetch import MAX_BYTES, fetch
from tests.support.fakes import Answer, FakeClock, ScriptedTransport

pytestmark = pytest.mark.anyio

URL = "https://issuer.test/keys"


def transport(answer: Answer) -> ScriptedTransport:
    return ScriptedTransport(FakeClock(), {"issuer": lambda: answer})


async def test_a_document_is_returned() -> None:
    source = transport(Answer([b'{"keys"', b":[]}"]))

    assert await fetch(source, URL) == b'{"keys":[]}'
    assert [(request.method, request.url) for request in source.requests] == [("GET", URL)]


@pytest.mark.parametrize("status", [204, 302, 404, 500])
async def test_another_status_is_an_error(status: int) -> None:
    with pytest.raises(ValueError, match=str(status)):
        await fetch(transport(Answer([b"{}"], status=status)), URL)


async def test_a_large_document_is_an_error() -> None:
    with pytest.raises(ValueError, match="more than"):
        await fetch(transport(Answer([b"x" * MAX_BYTES, b"x"])), URL)
