"""Real servers for end-to-end tests: Signalbox in a thread or as a process, always on a free port of loopback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import uvicorn
import yaml
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy.app import Parts, Service, build
from proxy.config.load import load
from proxy.core.clock import SystemClock
from proxy.core.model import MockOptions
from proxy.http.protocol import protocol_class
from proxy.mock.server import mock_app
from tests.support.waiting import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
RUNNING: list[str] = []  # the URLs of what `signalbox` serves now
IDLE = "signalbox_inflight_requests 0.0\n"


@dataclass(frozen=True)
class Running:
    """A service under a real server; `url` has no path."""

    url: str
    service: Service
    config: Path


def without_breakers(**retry: Any) -> dict[str, Any]:
    """A section `resilience` with which no breaker ever opens and retries are made at once."""
    at_once = {"backoff": "1ms", "max_backoff": "1ms", "stale_post": False, "budget": {"floor": 1000}}
    never = {"consecutive": 100_000, "window_failures": 100_000}
    return {"breaker": never, "retry": {**at_once, **retry}}


@contextmanager
def serving(app: ASGIApp, write_stall: float = 60.0) -> Iterator[str]:
    """Any ASGI application under uvicorn in a thread; yields its URL and stops it in the end."""
    config = uvicorn.Config(
        app,
        port=0,
        http=protocol_class(10.0, write_stall),
        loop="none",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,  # as `signalbox serve`; clients that close after 5 s would race with 5 s
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    started = threading.Event()

    async def run() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(server.serve)
            while not server.started:  # noqa: ASYNC110, uvicorn has no event for it
                await anyio.sleep(0.005)
            started.set()

    thread = threading.Thread(target=anyio.run, args=(run,), daemon=True)
    thread.start()
    if not started.wait(PATIENCE):
        raise RuntimeError("the server did not start")
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)


@contextmanager
def signalbox(
    config: Mapping[str, Any], folder: Path, environ: Mapping[str, str] | None = None, parts: Parts | None = None
) -> Iterator[Running]:
    """Signalbox with `config` in a thread; the file is in `folder` and may be changed while it runs."""
    path = folder / "signalbox.yaml"
    path.write_text(yaml.safe_dump(_kept_in(folder, config)))
    loaded = load(path, environ or {})
    service = build(loaded, environ or {}, parts)
    with serving(service.asgi, loaded.process.server.write_stall) as url:
        RUNNING.append(url)
        try:
            yield Running(url, service, path)
        finally:
            RUNNING.remove(url)


@dataclass(frozen=True)
class Process:
    """The command `signalbox serve` as a process."""

    url: str
    popen: subprocess.Popen[str]
    log: Path


@contextmanager
def signalbox_process(
    config: Mapping[str, Any] | None, folder: Path, environ: Mapping[str, str] | None = None
) -> Iterator[Process]:
    """`python -m proxy serve --port 0` with `config` (None: the default one); standard output goes to `log`."""
    arguments = [sys.executable, "-m", "proxy", "serve", "--port", "0"]
    if config is not None:
        path = folder / "signalbox.yaml"
        path.write_text(yaml.safe_dump(_kept_in(folder, config)))
        arguments += ["--config", str(path)]
    log = folder / "access.log"
    own = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", "SIGNALBOX_DATA_DIR": str(folder / "data")}
    own["TMPDIR"] = str(folder)  # its runtime file is no other test's
    env = {**own, **(environ or {})}
    with log.open("w") as output:
        popen = subprocess.Popen(arguments, cwd=ROOT, env=env, stdout=output, stderr=subprocess.PIPE, text=True)
        assert popen.stderr is not None
        seen = ""
        try:
            for line in popen.stderr:
                seen += line
                if match := re.search(r"(http://\S+)/v1", line):
                    yield Process(match[1], popen, log)
                    break
            else:
                raise RuntimeError(f"signalbox did not start: {seen}{log.read_text()}")
        finally:
            popen.kill()
            popen.wait(PATIENCE)
            popen.stderr.close()


def _kept_in(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with its state in the test's own folder, and without a store, unless it has one."""
    return {"data_dir": str(folder / "data"), "store": "none", **config}


@dataclass(frozen=True)
class Received:
    """One request as it reached an upstream."""

    path: str
    headers: dict[str, str]
    content: bytes

    @property
    def body(self) -> dict[str, Any]:
        """The content as JSON."""
        value: dict[str, Any] = json.loads(self.content)
        return value


@dataclass
class RecordingUpstream:
    """The mock provider as an upstream that records requests, with headers that a proxy must not relay.

    A model whose name holds `status-418` is answered with that status and an error in OpenAI's shape; one that also
    holds `echo` repeats the credential, as some providers do.
    """

    app: ASGIApp = field(default_factory=lambda: mock_app(MockOptions(), SystemClock()))
    requests: list[Received] = field(default_factory=list)

    @property
    def models(self) -> list[str]:
        """The models that were asked for, in order."""
        return [request.body["model"] for request in self.requests]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        content = b""
        more = True
        while more:
            message = await receive()
            content += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        self.requests.append(Received(scope["path"], headers, content))
        if status := re.search(rb"status-([1-5][0-9][0-9])", content):
            echo = f" You sent {headers.get('authorization')}." if b"echo" in content else ""
            await _refusal(int(status[1]), echo)(scope, receive, send)
            return
        await self.app(scope, _replayed(content, receive), _with_headers(send))


@contextmanager
def recording_upstream() -> Iterator[tuple[str, RecordingUpstream]]:
    """A recording upstream and the base URL to configure for it."""
    upstream = RecordingUpstream()
    with serving(upstream) as url:
        yield f"{url}/v1", upstream


def _refusal(status: int, echo: str) -> Response:
    error = {"message": f"The upstream says {status}.{echo}", "type": "upstream_says", "param": None, "code": "said_so"}
    return Response(json.dumps({"error": error}), status, {"x-ratelimit-limit-requests": "60000"}, "application/json")


def _replayed(content: bytes, receive: Receive) -> Receive:
    sent = False

    async def read() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": content, "more_body": False}

    return read


def _with_headers(send: Send) -> Send:
    more = [(b"set-cookie", b"a=b"), (b"x-ratelimit-remaining-requests", b"7"), (b"openai-version", b"2020-10-01")]

    async def write(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return write
