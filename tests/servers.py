"""Real servers for end-to-end tests: Signalbox in a thread or as a process, always on a free port of loopback."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import uvicorn
import yaml
from starlette.types import ASGIApp

from proxy.app import Parts, Service, build
from proxy.config.load import load

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Running:
    """A service under a real server; `url` has no path."""

    url: str
    service: Service
    config: Path


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """Any ASGI application under uvicorn in a thread; yields its URL and stops it in the end."""
    config = uvicorn.Config(
        app, port=0, http="httptools", loop="none", ws="none", log_config=None, access_log=False, server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    started = threading.Event()

    async def run() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(server.serve)
            while not server.started:
                await anyio.sleep(0.005)
            started.set()

    thread = threading.Thread(target=anyio.run, args=(run,), daemon=True)
    thread.start()
    if not started.wait(10):
        raise RuntimeError("the server did not start")
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


@contextmanager
def signalbox(
    config: Mapping[str, Any], folder: Path, environ: Mapping[str, str] | None = None, parts: Parts | None = None
) -> Iterator[Running]:
    """Signalbox with `config` in a thread; the file is in `folder` and may be changed while it runs."""
    path = folder / "signalbox.yaml"
    path.write_text(yaml.safe_dump(dict(config)))
    service = build(load(path, environ or {}), environ or {}, parts)
    with serving(service.asgi) as url:
        yield Running(url, service, path)


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
    """`python -m proxy serve --port 0` with `config` (None: the default configuration); standard output goes to `log`."""
    arguments = [sys.executable, "-m", "proxy", "serve", "--port", "0"]
    if config is not None:
        path = folder / "signalbox.yaml"
        path.write_text(yaml.safe_dump(dict(config)))
        arguments += ["--config", str(path)]
    log = folder / "access.log"
    env = {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", **(environ or {})}
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
            popen.wait(10)
            popen.stderr.close()
