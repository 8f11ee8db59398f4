"""The network's faults as `UpstreamFailure`, and bodies decoded in bounded pieces."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import respx

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.types import UpstreamRequest
from proxy.upstream import transport as module
from proxy.upstream.transport import HttpTransport

pytestmark = pytest.mark.anyio

URL = "https://api.acme.test/v1/chat/completions"


def request(url: str = URL, **fields: Any) -> UpstreamRequest:
    return UpstreamRequest(**{"url": url, "headers": {"x-a": "b"}, "content": b"{}", "connect_timeout": 1.5, **fields})


@pytest.fixture
def upstream() -> Iterator[respx.Route]:
    with respx.mock(assert_all_called=False) as router:
        yield router.post(URL)


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    made = HttpTransport()
    yield made
    await made.aclose()


class Body(httpx.AsyncByteStream):
    """A body in pieces that may break, and knows whether it was closed."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = pieces
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def aclose(self) -> None:
        self.closed = True


def answer(*pieces: bytes | Exception, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(200, headers=named, stream=Body(*pieces))


async def received(transport: HttpTransport) -> list[bytes]:
    async with transport.send(request()) as response:
        return [chunk async for chunk in response.chunks]


async def read_into(got: list[bytes], transport: HttpTransport) -> None:
    async with transport.send(request()) as response:
        async for chunk in response.chunks:
            got.append(chunk)  # noqa: PERF401 (what came before a fault counts)


async def test_what_is_asked_is_sent_and_the_answer_comes_as_it_is(
    upstream: respx.Route, transport: HttpTransport
) -> None:
    upstream.return_value = httpx.Response(429, headers={"Retry-After": "3"}, stream=Body(b"a", b"b"))

    async with transport.send(request(content=b"body")) as response:
        chunks = [chunk async for chunk in response.chunks]

    sent = upstream.calls.last.request
    assert (sent.content, sent.headers["x-a"]) == (b"body", "b")
    assert sent.extensions["timeout"] == {"connect": 1.5, "read": None, "write": None, "pool": None}
    assert (response.status, response.headers["retry-after"], chunks) == (429, "3", [b"a", b"b"])


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (httpx.ConnectTimeout("secret"), "not made in time"),
        (httpx.PoolTimeout("secret"), "became free in time"),
        (httpx.ConnectError("secret"), "could not be reached"),
        (httpx.ProxyError("secret"), "proxy to the upstream refused"),
        (httpx.RemoteProtocolError("secret"), "broke off"),
        (httpx.ReadError("secret"), "closed the connection"),
        (httpx.WriteError("secret"), "closed the connection"),
        (httpx.DecodingError("secret"), "failed (DecodingError)"),
        (UnicodeError("secret"), "failed (UnicodeError)"),
    ],
)
async def test_the_network_s_faults_are_told_without_their_details(
    upstream: respx.Route, transport: HttpTransport, fault: Exception, said: str
) -> None:
    upstream.side_effect = fault

    with pytest.raises(UpstreamFailure) as failed:
        await received(transport)

    assert failed.value.kind == FailureKind.CONNECT
    assert said in str(failed.value)
    assert "secret" not in str(failed.value)


@pytest.mark.parametrize("url", ["ftp://acme.test/x", "acme", "https://a\x00b/", "https://[::1/", "http://:99999999/"])
async def test_a_url_that_is_none_is_a_fault_of_the_connection(transport: HttpTransport, url: str) -> None:
    with pytest.raises(UpstreamFailure) as failed:
        async with transport.send(request(url)):
            pytest.fail("there is nobody there")

    assert failed.value.kind == FailureKind.CONNECT


async def test_a_header_that_is_none_is_a_fault_of_the_connection(transport: HttpTransport) -> None:
    with pytest.raises(UpstreamFailure) as failed:
        async with transport.send(request(headers={"x": "\ud800"})):
            pytest.fail("this cannot be sent")

    assert failed.value.kind == FailureKind.CONNECT


@pytest.mark.parametrize("fault", [httpx.ReadError("x"), httpx.RemoteProtocolError("x")])
async def test_a_body_that_breaks_is_a_fault_after_what_came(
    upstream: respx.Route, transport: HttpTransport, fault: Exception
) -> None:
    body = Body(b"a", fault)
    upstream.return_value = httpx.Response(200, stream=body)
    got: list[bytes] = []

    with pytest.raises(UpstreamFailure) as failed:
        await read_into(got, transport)

    assert (got, failed.value.kind) == ([b"a"], FailureKind.CONNECT)
    assert body.closed


async def test_leaving_early_closes_the_connection(upstream: respx.Route, transport: HttpTransport) -> None:
    body = Body(b"a", b"b")
    upstream.return_value = httpx.Response(200, stream=body)

    async with transport.send(request()) as response:
        await anext(response.chunks)
        assert not body.closed
        await response.chunks.aclose()

    assert body.closed


async def test_an_answer_nobody_reads_is_closed(upstream: respx.Route, transport: HttpTransport) -> None:
    body = Body(b"a")
    upstream.return_value = httpx.Response(200, stream=body)

    async with transport.send(request()):
        pass

    assert body.closed


TEXT = b'{"choices": "' + bytes(range(32, 127)) * 50 + b'"}'


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(TEXT)),
        ("x-gzip", gzip.compress(TEXT)),
        (" GZIP ", gzip.compress(TEXT)),
        ("deflate", zlib.compress(TEXT)),
        ("identity", TEXT),
        ("", TEXT),
    ],
)
async def test_a_compressed_answer_is_unpacked_however_it_is_cut(
    upstream: respx.Route, transport: HttpTransport, encoding: str, packed: bytes
) -> None:
    upstream.return_value = answer(*[packed[at : at + 7] for at in range(0, len(packed), 7)], content_encoding=encoding)

    assert b"".join(await received(transport)) == TEXT


async def test_a_compressed_stream_is_given_on_as_it_comes(upstream: respx.Route, transport: HttpTransport) -> None:
    packer = zlib.compressobj(wbits=31)
    pieces = [packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH) for text in (b"one", b"two")]
    upstream.return_value = answer(*pieces, content_encoding="gzip")

    async with transport.send(request()) as response:
        assert [await anext(response.chunks), await anext(response.chunks)] == [b"one", b"two"]
        await response.chunks.aclose()


async def test_a_bomb_unfolds_in_bounded_pieces(upstream: respx.Route, transport: HttpTransport) -> None:
    size = 40 * 1024 * 1024
    upstream.return_value = answer(gzip.compress(bytes(size)), content_encoding="gzip")

    total, largest = 0, 0
    async with transport.send(request()) as response:
        async for chunk in response.chunks:
            total += len(chunk)
            largest = max(largest, len(chunk))

    assert total == size
    assert largest <= module._PIECE  # noqa: SLF001


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, br", "x" * 500])
async def test_an_encoding_that_we_did_not_ask_for_and_do_not_know_is_a_fault(
    upstream: respx.Route, transport: HttpTransport, encoding: str
) -> None:
    upstream.return_value = answer(b"x", content_encoding=encoding)

    with pytest.raises(UpstreamFailure) as failed:
        await received(transport)

    assert failed.value.kind == FailureKind.MALFORMED
    assert len(str(failed.value)) < 150


async def test_what_is_not_compressed_although_it_says_so_is_a_fault(
    upstream: respx.Route, transport: HttpTransport
) -> None:
    upstream.return_value = answer(b"plain text", content_encoding="gzip")

    with pytest.raises(UpstreamFailure, match="cannot be read") as failed:
        await received(transport)

    assert failed.value.kind == FailureKind.MALFORMED


async def test_redirects_are_not_followed(upstream: respx.Route, transport: HttpTransport) -> None:
    upstream.return_value = httpx.Response(307, headers={"location": "https://elsewhere.test/"})

    async with transport.send(request()) as response:
        assert response.status == 307

    assert upstream.call_count == 1


async def test_cookies_are_not_kept(upstream: respx.Route, transport: HttpTransport) -> None:
    upstream.side_effect = lambda _: httpx.Response(200, headers={"set-cookie": "who=you; Path=/"})

    for _ in range(2):
        await received(transport)

    assert all("cookie" not in call.request.headers for call in upstream.calls)


async def test_the_environment_s_proxy_is_not_used(
    upstream: respx.Route, transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "ftp://nowhere.test")
    upstream.return_value = answer(b"x")

    assert await received(transport) == [b"x"]


async def test_a_proxy_that_is_no_url_is_a_fault_of_the_connection(transport: HttpTransport) -> None:
    with pytest.raises(UpstreamFailure) as failed:
        async with transport.send(request(proxy="user:word@nowhere")):
            pytest.fail("there is nobody there")

    assert failed.value.kind == FailureKind.CONNECT
    assert "word" not in str(failed.value)


async def test_after_closing_it_can_be_used_again(upstream: respx.Route, transport: HttpTransport) -> None:
    upstream.side_effect = lambda _: answer(b"x")
    await received(transport)

    await transport.aclose()

    assert await received(transport) == [b"x"]
