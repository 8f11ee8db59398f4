"""Which way a request goes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.wire import UpstreamRequest
from proxy.upstream.network import Network
from tests.support.fakes import whole
from tests.support.raw_server import RawConnection, answer, server
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    made = Network()
    yield made
    await made.aclose()


def request(url: str, **fields: Any) -> UpstreamRequest:
    return UpstreamRequest(url, {}, b"{}", PATIENCE, **fields)


async def read(network: Network, url: str, **fields: Any) -> bytes:
    async with aclosing(await network.send(request(url, **fields))) as response:
        return await whole(response)


async def test_request_goes_directly(network: Network) -> None:
    async with server(answer) as upstream:
        assert await read(network, upstream.url) == b"ok"

    assert upstream.heads[0].startswith(b"POST /v1/chat/completions ")


async def test_request_goes_by_its_own_proxy(network: Network) -> None:
    async with server(answer) as proxy:
        address = f"http://user:word@127.0.0.1:{proxy.port}"
        assert [await read(network, "http://acme.test/v1", proxy=address) for _ in range(2)] == [b"ok", b"ok"]

    assert proxy.heads[0].startswith(b"POST http://acme.test/v1 ")
    assert b"proxy-authorization: basic dxnlcjp3b3jk" in proxy.heads[0].lower()


async def test_https_goes_by_the_proxy_of_the_environment() -> None:
    async def refuse(connection: RawConnection) -> None:
        await connection.read_head()
        await connection.send(b"HTTP/1.1 407 Who\r\ncontent-length: 0\r\n\r\n")
        connection.close()

    async with server(refuse) as proxy:
        network = Network({"HTTPS_PROXY": f"http://user:word@127.0.0.1:{proxy.port}", "NO_PROXY": "other.test"})
        with pytest.raises(UpstreamFailure) as failed:
            await read(network, "https://acme.test/v1")
        await network.aclose()

    assert proxy.heads[0].startswith(b"CONNECT acme.test:443 ")
    assert (failed.value.kind, failed.value.cause) == (FailureKind.CONNECT, "proxy")
    assert "word" not in str(failed.value)


async def test_proxy_that_is_not_there_names_its_cause(network: Network) -> None:
    async with server(answer) as closed:
        pass

    with pytest.raises(UpstreamFailure) as failed:
        await read(network, "https://acme.test/", proxy=f"http://127.0.0.1:{closed.port}")

    assert failed.value.cause == "refused"


@pytest.mark.parametrize("proxy", ["user:word@nowhere", "http://proxy.test:x", "socks9://proxy.test"])
async def test_proxy_that_cannot_be_used_names_its_cause(network: Network, proxy: str) -> None:
    with pytest.raises(UpstreamFailure) as failed:
        await read(network, "https://acme.test/", proxy=proxy)

    assert failed.value.cause == "proxy"
    assert "word" not in str(failed.value)


@pytest.mark.parametrize("environ", [{"SSL_CERT_FILE": "/nowhere/ca.pem"}, {"HTTPS_PROXY": "socks5://a"}])
def test_variable_that_cannot_be_used_is_an_error(environ: dict[str, str]) -> None:
    [name] = environ

    with pytest.raises(ValueError, match=name):
        Network(environ)


def test_file_without_certificates_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("nothing")

    with pytest.raises(ValueError, match="contains no certificates"):
        Network({"SSL_CERT_FILE": str(path)})


def test_httpx_is_imported_only_for_a_proxy() -> None:
    code = "import sys, proxy.app; sys.exit('httpx' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
