"""nginx and HAProxy in front of Signalbox, as processes that inherit their port; each needs to be installed.

The configurations named `defaults` are the least with which each passes requests on; the others are those that
`docs/deployment.md` recommends.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from tests.load.client import Client
from tests.load.harness import end, until

PLACES = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
Configuration = Callable[[Path, socket.socket, Sequence[str]], str]

_NGINX = """
{user}
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    {upstream}
    server {{ listen 127.0.0.1:{port}; location / {{ {location} }} }}
}}
"""
_REPLICAS = """
    proxy_pass http://signalbox;
    proxy_http_version 1.1;
    proxy_set_header Host $host;
    proxy_set_header Connection "";
    proxy_buffering off;
    proxy_read_timeout 700s;
    proxy_next_upstream error http_503 non_idempotent;
"""
_HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    {options}
frontend front
    bind fd@{descriptor}
    default_backend signalbox
backend signalbox
{servers}
"""


def nginx_defaults(folder: Path, listening: socket.socket, servers: Sequence[str]) -> str:
    """Return a configuration of nginx with nothing but its defaults, for one server."""
    return _nginx(folder, listening, "", f"proxy_pass http://{servers[0]};")


def nginx_replicas(folder: Path, listening: socket.socket, servers: Sequence[str]) -> str:
    """Return the configuration of nginx for several replicas."""
    listed = "".join(f"server {server} max_fails=0; " for server in servers)
    return _nginx(folder, listening, f"upstream signalbox {{ {listed} keepalive 64; }}", _REPLICAS)


def haproxy_defaults(folder: Path, listening: socket.socket, servers: Sequence[str]) -> str:
    """Return a configuration of HAProxy with nothing but the timeouts that it asks for."""
    return _haproxy(listening, servers, "")


def haproxy_without_delay(folder: Path, listening: socket.socket, servers: Sequence[str]) -> str:
    """Return the configuration of HAProxy that `docs/deployment.md` recommends."""
    return _haproxy(listening, servers, "option http-no-delay")


def installed(program: str) -> str | None:
    """Return the path of nginx or HAProxy, None if it is not installed."""
    return shutil.which(program, path=PLACES)


@asynccontextmanager
async def front(program: str, configuration: Configuration, *urls: str) -> AsyncIterator[str]:
    """Run an installed program in front of the servers at `urls`; yields its own URL."""
    path = installed(program)
    assert path is not None
    with (
        tempfile.TemporaryDirectory(prefix="signalbox-load-") as name,
        socket.create_server(("127.0.0.1", 0), backlog=1024) as listening,
    ):
        descriptor, file = listening.fileno(), Path(name, "front.conf")
        os.chmod(name, 0o755)
        _write(file, configuration(Path(name), listening, [url.removeprefix("http://") for url in urls]))
        command = {"nginx": ["-p", name, "-c", str(file)], "haproxy": ["-f", str(file)]}[program]
        process = await asyncio.create_subprocess_exec(
            *(path, *command), pass_fds=[descriptor], env={"NGINX": f"{descriptor};"}, stderr=asyncio.subprocess.DEVNULL
        )
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        client = Client(url)

        async def ready() -> bool:
            return process.returncode is not None or (await client.get("/livez")).status == 200

        try:
            if not await until(ready) or process.returncode is not None:
                raise RuntimeError(f"{program} did not start")
            yield url
        finally:
            client.close()
            with anyio.CancelScope(shield=True):
                await end(process)


def _haproxy(listening: socket.socket, servers: Sequence[str], options: str) -> str:
    listed = "\n".join(f"    server s{number} {server}" for number, server in enumerate(servers))
    return _HAPROXY.format(descriptor=listening.fileno(), servers=listed, options=options)


def _nginx(folder: Path, listening: socket.socket, upstream: str, location: str) -> str:
    user = "user root;" if os.geteuid() == 0 else ""
    port = listening.getsockname()[1]
    return _NGINX.format(user=user, folder=folder, port=port, upstream=upstream, location=location)


def _write(file: Path, text: str) -> None:
    file.write_text(text)
