"""A real nginx with TLS as the upstream."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import pytest

from proxy.core.wire import UpstreamRequest
from proxy.upstream.net.transport import NetTransport
from proxy.upstream.transport import Transport
from tests.support.certificates import Certificates
from tests.support.fakes import whole
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

BODY = bytes(range(256)) * 4000
CONFIGURATION = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
worker_processes 1;
events {{ worker_connections 256; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxied;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {certificates}/localhost.pem;
        ssl_certificate_key {certificates}/localhost.key;
        keepalive_requests 5;
        keepalive_timeout 60s 20s;
        client_max_body_size 1k;
        root {folder};
        location /ok {{ return 200 "ok"; }}
        location /large {{ error_page 405 =200 $uri; }}
        location /inner {{ client_max_body_size 64m; return 201 "inner"; }}
        location /outer {{
            client_max_body_size 64m;
            proxy_pass https://127.0.0.1:{port}/inner;
            proxy_ssl_verify off;
        }}
    }}
}}
"""


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[str]:
    """Its URL, without a path."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("nginx is not installed")
    folder = tmp_path_factory.mktemp("nginx")
    folder.chmod(0o755)
    (folder / "large").write_bytes(BODY)
    with socket.create_server(("127.0.0.1", 0)) as listening:  # nginx inherits it, so that no one else takes the port
        port, inherited = listening.getsockname()[1], listening.fileno()
        values: dict[str, Any] = {"folder": folder, "port": port, "certificates": certificates.folder}
        (folder / "nginx.conf").write_text("user root;\n" * _is_root() + CONFIGURATION.format(**values))
        command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf")]
        run = subprocess.Popen(command, pass_fds=[inherited], env={"NGINX": f"{inherited};"})
    with run:
        try:
            yield f"https://127.0.0.1:{port}"
        finally:
            run.terminate()


def _is_root() -> bool:
    return os.geteuid() == 0


async def read(transport: Transport, url: str, certificates: Certificates, **fields: Any) -> tuple[int, bytes]:
    given = {"url": url, "headers": {}, "content": b"{}", "connect_timeout": PATIENCE, "ca": certificates.ca, **fields}
    async with aclosing(await transport.send(UpstreamRequest(**given))) as response:
        return response.status, await whole(response)


async def test_requests_follow_one_another(transport: Transport, nginx: str, certificates: Certificates) -> None:
    """Every fifth answer closes the connection."""
    for _ in range(23):
        assert await read(transport, f"{nginx}/ok", certificates) == (200, b"ok")


async def test_large_answer_is_read(transport: Transport, nginx: str, certificates: Certificates) -> None:
    for _ in range(3):
        status, body = await read(transport, f"{nginx}/large", certificates, content=b"", method="GET")
        assert (status, body == BODY) == (200, True)


async def test_large_request_arrives(transport: Transport, nginx: str, certificates: Certificates) -> None:
    assert await read(transport, f"{nginx}/outer", certificates, content=BODY) == (201, b"inner")


async def test_error_pages_pass(transport: Transport, nginx: str, certificates: Certificates) -> None:
    status, body = await read(transport, f"{nginx}/missing", certificates)

    assert (status, b"404 Not Found" in body) == (404, True)


async def test_early_refusal_of_a_large_request_passes(
    net: NetTransport, nginx: str, certificates: Certificates
) -> None:
    for _ in range(3):
        status, body = await read(net, f"{nginx}/ok", certificates, content=BODY * 10)
        assert (status, b"413 Request Entity Too Large" in body) == (413, True)
