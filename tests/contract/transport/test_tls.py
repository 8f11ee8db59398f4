"""TLS: what is trusted, what a refusal says, and that sessions are resumed."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import aclosing
from typing import Any

import pytest

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.wire import UpstreamRequest
from proxy.upstream.net.transport import NetTransport
from proxy.upstream.transport import Transport
from tests.support.certificates import Certificates
from tests.support.fakes import whole
from tests.support.raw_server import RawConnection, answer, sending, server
from tests.support.upstreams import full_port
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio


async def read(transport: Transport, url: str, content: bytes = b"{}", **fields: Any) -> bytes:
    given = {"url": url, "headers": {}, "content": content, "connect_timeout": PATIENCE, **fields}
    async with aclosing(await transport.send(UpstreamRequest(**given))) as response:
        return await whole(response)


async def failing(transport: Transport, url: str, **fields: Any) -> UpstreamFailure:
    with pytest.raises(UpstreamFailure) as failed:
        await read(transport, url, **fields)
    assert failed.value.kind is FailureKind.CONNECT
    return failed.value


async def test_private_ca_is_trusted_where_it_is_given(transport: Transport, certificates: Certificates) -> None:
    async with server(answer, context=certificates.server()) as upstream:
        assert await read(transport, upstream.url, ca=certificates.ca) == b"ok"
        failure = await failing(transport, upstream.url)

    assert failure.cause == "tls"
    assert "certificate is not trusted: " in str(failure)
    assert "self-signed certificate" in str(failure) or "unable to get local issuer" in str(failure)


async def test_certificate_of_another_name_is_refused(transport: Transport, certificates: Certificates) -> None:
    async with server(answer, context=certificates.server("elsewhere")) as upstream:
        failure = await failing(transport, upstream.url, ca=certificates.ca)

    assert failure.cause == "tls"
    assert "mismatch" in str(failure)


async def test_server_without_tls_is_refused(transport: Transport) -> None:
    async def plain(connection: RawConnection) -> None:
        await connection.reader.read(1)
        await connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        connection.close()

    async with server(plain) as upstream:
        failure = await failing(transport, upstream.url.replace("http:", "https:"))

    assert (failure.cause, "TLS" in str(failure)) == ("tls", True)


async def test_close_during_the_handshake_is_a_fault(transport: Transport) -> None:
    async def close(connection: RawConnection) -> None:
        await connection.reader.read(1)
        connection.close()

    async with server(close) as upstream:
        failure = await failing(transport, upstream.url.replace("http:", "https:"))

    assert failure.cause in ("reset", "tls", "connect")


async def test_handshake_counts_to_the_connect_timeout(transport: Transport) -> None:
    async def silent(connection: RawConnection) -> None:
        await connection.closed()
        connection.close()

    async with server(silent) as upstream, asyncio.timeout(PATIENCE):
        failure = await failing(transport, upstream.url.replace("http:", "https:"), connect_timeout=0.05)
        await upstream.emptied()

    assert failure.cause == "timeout"


async def test_connect_timeout_names_its_cause(transport: Transport) -> None:
    with full_port() as port:
        failure = await failing(transport, f"http://127.0.0.1:{port}/", connect_timeout=0.05)

    assert (failure.cause, "timed out" in str(failure)) == ("timeout", True)


async def test_large_bodies_pass_both_ways(transport: Transport, certificates: Certificates) -> None:
    content = bytes(range(256)) * 10_000

    async def echo(connection: RawConnection) -> None:
        await connection.read_request()
        data = connection.server.log[-1]
        await connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(data))
        await connection.send(data)

    async with server(echo, context=certificates.server()) as upstream:
        for _ in range(3):
            assert await read(transport, upstream.url, content, ca=certificates.ca) == content


async def test_body_until_the_end_is_read(transport: Transport, certificates: Certificates) -> None:
    async with server(sending(b"HTTP/1.1 200 OK\r\n\r\nhello"), context=certificates.server()) as upstream:
        assert await read(transport, upstream.url, ca=certificates.ca) == b"hello"


async def test_broken_certificates_are_a_fault_of_tls(net: NetTransport) -> None:
    failure = await failing(net, "https://127.0.0.1:1/", ca="no certificates")

    assert failure.cause in ("tls", "refused")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
async def test_sessions_are_resumed_and_names_sent(
    net: NetTransport, certificates: Certificates, version: ssl.TLSVersion
) -> None:
    names: list[str | None] = []
    resumed: list[bool] = []
    context = certificates.server()
    context.minimum_version = context.maximum_version = version
    context.sni_callback = lambda _, name, __: names.append(name)

    async def note(connection: RawConnection) -> None:
        await answer(connection)
        resumed.append(connection.writer.get_extra_info("ssl_object").session_reused)

    async with server(note, context=context) as upstream:
        url = upstream.url.replace("127.0.0.1", "localhost")
        for fresh in (False, True, True):
            assert await read(net, url, ca=certificates.ca, fresh=fresh) == b"ok"

    assert resumed == [False, True, True]
    assert set(names) == {"localhost"}


async def test_connections_of_one_trust_are_not_used_for_another(net: NetTransport, certificates: Certificates) -> None:
    async with server(answer, context=certificates.server()) as upstream:
        await read(net, upstream.url, ca=certificates.ca)
        failure = await failing(net, upstream.url)

    assert failure.cause == "tls"


async def test_kept_connection_is_used_again(net: NetTransport, certificates: Certificates) -> None:
    async with server(answer, context=certificates.server()) as upstream, asyncio.timeout(PATIENCE):
        for _ in range(5):
            await read(net, upstream.url, ca=certificates.ca)
        assert upstream.connections == 1

        await net.aclose()
        await upstream.emptied()
