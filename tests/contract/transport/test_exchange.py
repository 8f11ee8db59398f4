"""What every transport promises of one request and its answer."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from contextlib import aclosing
from typing import Any

import pytest

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.wire import UpstreamRequest
from proxy.upstream.transport import Transport
from tests.support.fakes import whole
from tests.support.raw_server import ANSWER, RawConnection, answer, sending, server
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
TEXT = b'{"choices": "' + bytes(range(32, 127)) * 50 + b'"}'

ANSWERS = {
    "with a length": OK + b"Content-Length: 5\r\n\r\nhello",
    "in chunks": CHUNKED + b"2\r\nhe\r\n3;x\r\nllo\r\n0\r\n\r\n",
    "with trailers": CHUNKED + b"5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n",
    "until the end": OK + b"\r\nhello",
    "until the end, HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\nhello",
    "after 100 Continue": b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 5\r\n\r\nhello",
    "after 103 Early Hints": b"HTTP/1.1 103 Hints\r\nlink: </a>\r\n\r\n" + OK + b"Content-Length: 5\r\n\r\nhello",
}
REFUSED = {
    "not HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
    "a negative length": OK + b"content-length: -5\r\n\r\nhello",
    "two lengths": OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    "a negative chunk": CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
    "a chunk that overflows": CHUNKED + b"fffffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "a chunk size that is none": CHUNKED + b"zz\r\nhello\r\n0\r\n\r\n",
    "a length that is not reached": OK + b"content-length: 9\r\n\r\nhello",
    "a last chunk that is missing": CHUNKED + b"5\r\nhello\r\n",
    "another protocol": b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    "an endless head": OK + b"x-a: " + b"a" * 300_000,
    "a bare CR in a value": OK + b"x-a: b\rc: d\r\n\r\n",
}


def request(url: str, content: bytes = b"{}", **fields: Any) -> UpstreamRequest:
    return UpstreamRequest(**{"url": url, "headers": {}, "content": content, "connect_timeout": PATIENCE, **fields})


async def read(transport: Transport, url: str, content: bytes = b"{}", **fields: Any) -> bytes:
    async with aclosing(await transport.send(request(url, content, **fields))) as response:
        return await whole(response)


async def failing(transport: Transport, url: str, content: bytes = b"{}", **fields: Any) -> UpstreamFailure:
    with pytest.raises(UpstreamFailure) as failed:
        await read(transport, url, content, **fields)
    return failed.value


async def test_request_arrives_as_it_is(transport: Transport) -> None:
    async with server(answer) as upstream:
        headers = {"authorization": "Bearer sk-1", "x-a": "b"}
        await read(transport, upstream.url + "?api-version=1&a=%2F", b"body", headers=headers)

    lines = upstream.heads[0].decode().split("\r\n")
    assert lines[0] == "POST /v1/chat/completions?api-version=1&a=%2F HTTP/1.1"
    fields = dict(line.lower().split(": ", 1) for line in lines[1:-2])
    assert fields["host"] == f"127.0.0.1:{upstream.port}"
    assert (fields["authorization"], fields["x-a"], fields["content-length"]) == ("bearer sk-1", "b", "4")
    assert upstream.log == [b"body"]


async def test_list_of_models_is_asked_for_without_a_body(transport: Transport) -> None:
    async with server(answer) as upstream:
        assert await read(transport, upstream.url, b"", method="GET") == b"ok"

    assert upstream.heads[0].startswith(b"GET ")
    assert b"content-length" not in upstream.heads[0].lower()


async def test_large_request_arrives_in_whole(transport: Transport) -> None:
    content = bytes(range(256)) * 40_000
    async with server(answer) as upstream:
        assert [await read(transport, upstream.url, content) for _ in range(2)] == [b"ok", b"ok"]

    assert upstream.log == [content, content]


@pytest.mark.parametrize("name", ANSWERS)
async def test_answer_is_read_whatever_its_framing(transport: Transport, name: str) -> None:
    data = ANSWERS[name]
    async with server(sending(data)) as whole, server(sending(*(data[at : at + 1] for at in range(len(data))))) as cut:
        assert [await read(transport, upstream.url) for upstream in (whole, cut)] == [b"hello", b"hello"]


@pytest.mark.parametrize("status", [204, 304])
async def test_answer_without_a_body_ends_with_its_head(transport: Transport, status: int) -> None:
    async with server(sending(b"HTTP/1.1 %d Empty\r\n\r\n" % status, close=False)) as upstream:
        assert [await read(transport, upstream.url) for _ in range(2)] == [b"", b""]


async def test_status_and_headers_pass(transport: Transport) -> None:
    head = b"HTTP/1.1 429 Slow\r\nRetry-After: 3\r\nX-A: 1\r\nx-a: 2\r\ncontent-length: 2\r\n\r\nno"
    async with server(sending(head)) as upstream, aclosing(await transport.send(request(upstream.url))) as response:
        assert response.status == 429
        assert response.headers["retry-after"] == "3"
        assert response.headers["x-a"] == "1, 2"


@pytest.mark.parametrize("name", REFUSED)
async def test_invalid_answer_is_a_fault_of_the_connection(transport: Transport, name: str) -> None:
    async with server(sending(REFUSED[name])) as upstream:
        failure = await failing(transport, upstream.url)

    assert failure.kind is FailureKind.CONNECT
    assert failure.cause in ("protocol", "closed", "reset")


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("name", ["with a length", "in chunks"])
async def test_answer_cut_at_any_byte_is_a_fault(transport: Transport, name: str, end: str) -> None:
    data = ANSWERS[name]
    for length in range(0, len(data), 5):

        async def cut(connection: RawConnection, length: int = length) -> None:
            await connection.read_head()  # leaves the body unread, so that closing may reset
            await connection.send(data[:length])
            connection.reset() if end == "reset" else connection.close()

        async with server(cut) as upstream:
            failure = await failing(transport, upstream.url)

        assert failure.kind is FailureKind.CONNECT, length
        assert failure.cause in ("closed", "reset", "protocol")


async def test_what_came_before_a_fault_is_delivered(transport: Transport) -> None:
    got = b""
    async with (
        server(sending(CHUNKED + b"5\r\nhello\r\n")) as upstream,
        aclosing(await transport.send(request(upstream.url))) as response,
    ):
        while len(got) < 5:
            got += await response.read()
        with pytest.raises(UpstreamFailure):
            await response.read()

    assert got == b"hello"


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(TEXT)),
        ("x-gzip", gzip.compress(TEXT)),
        (" GZIP ", gzip.compress(TEXT)),
        ("gzip", gzip.compress(TEXT[:99]) + gzip.compress(TEXT[99:])),
        ("deflate", zlib.compress(TEXT)),
        ("identity", TEXT),
        ("", TEXT),
    ],
)
async def test_compressed_answer_is_unpacked(transport: Transport, encoding: str, packed: bytes) -> None:
    head = OK + b"content-encoding: %s\r\ncontent-length: %d\r\n\r\n" % (encoding.encode(), len(packed))
    async with server(sending(head, *(packed[at : at + 7] for at in range(0, len(packed), 7)))) as upstream:
        assert await read(transport, upstream.url) == TEXT


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, br", "x" * 500])
async def test_unknown_compression_is_malformed(transport: Transport, encoding: str) -> None:
    head = OK + b"content-encoding: %s\r\ncontent-length: 2\r\n\r\nxx" % encoding.encode()
    async with server(sending(head)) as upstream:
        failure = await failing(transport, upstream.url)

    assert (failure.kind, failure.cause) == (FailureKind.MALFORMED, "encoding")
    assert len(str(failure)) < 150


async def test_redirects_are_not_followed_and_cookies_not_kept(transport: Transport) -> None:
    head = b"HTTP/1.1 307 There\r\nlocation: /there\r\nset-cookie: a=b; Path=/\r\ncontent-length: 0\r\n\r\n"
    async with server(sending(head, close=False)) as upstream:
        for _ in range(2):
            async with aclosing(await transport.send(request(upstream.url))) as response:
                assert response.status == 307

    assert len(upstream.heads) == 2
    assert b"cookie" not in upstream.heads[1].lower()


@pytest.mark.parametrize("value", ["a\r\nx-b: c", "a\nb", "a\x00b", "a\r"])
async def test_line_break_in_a_header_is_never_sent(transport: Transport, value: str) -> None:
    async with server(answer) as upstream:
        with pytest.raises(ValueError, match="`x-a`.*line break") as refused:
            await read(transport, upstream.url, headers={"x-a": value})

    assert (upstream.connections, value in str(refused.value)) == (0, False)


@pytest.mark.parametrize("name", ["content-length", "Host", "transfer-encoding", "a b", "a:", ""])
async def test_header_that_would_break_framing_is_never_sent(transport: Transport, name: str) -> None:
    async with server(answer) as upstream:
        with pytest.raises(ValueError, match="invalid or reserved name"):
            await read(transport, upstream.url, headers={name: "5"})

    assert upstream.connections == 0


@pytest.mark.parametrize("url", ["ftp://acme.test/x", "acme", "https://[::1/", "http://:1/", "http://acme.test:99999/"])
async def test_url_that_cannot_be_is_named(transport: Transport, url: str) -> None:
    failure = await failing(transport, url)

    assert (failure.kind, failure.cause) == (FailureKind.CONNECT, "url")


async def test_exchange_that_is_left_early_closes_its_connection(transport: Transport) -> None:
    gone = asyncio.Event()

    async def endless(connection: RawConnection) -> None:
        await connection.read_request()
        await connection.send(CHUNKED + b"2\r\nhe\r\n")
        await connection.closed()
        gone.set()
        connection.close()

    async with server(endless) as upstream, asyncio.timeout(PATIENCE):
        async with aclosing(await transport.send(request(upstream.url))) as response:
            assert await response.read() == b"he"
            await response.aclose()
        await gone.wait()


async def test_cancelled_request_closes_its_connection(transport: Transport) -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def silent(connection: RawConnection) -> None:
        await connection.read_request()
        asked.set()
        await connection.closed()
        gone.set()
        connection.close()

    async with server(silent) as upstream, asyncio.timeout(PATIENCE):
        async with asyncio.TaskGroup() as group:
            task = group.create_task(read(transport, upstream.url))
            await asked.wait()
            task.cancel()
        await gone.wait()


@pytest.mark.parametrize(
    "data",
    [
        OK + b"connection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        ANSWER + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nleak",
    ],
    ids=["connection: close", "HTTP/1.0", "more than the answer"],
)
async def test_connection_that_cannot_serve_again_is_closed(transport: Transport, data: bytes) -> None:
    async with server(sending(data, close=False)) as upstream:
        assert [await read(transport, upstream.url) for _ in range(3)] == [b"ok"] * 3

    assert upstream.connections == 3


async def test_refused_connection_names_its_cause(transport: Transport) -> None:
    async with server(answer) as upstream:
        url = upstream.url

    failure = await failing(transport, url)

    assert (failure.kind, failure.cause) == (FailureKind.CONNECT, "refused")
    assert "refused" in str(failure)
