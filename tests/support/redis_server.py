"""A real redis-server on a free port of loopback, and a TCP proxy before it that can be slow or dead."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.waiting import until

REDIS = shutil.which("redis-server")
WITHOUT_REDIS = "redis-server is not installed; `tests/setup.sh` installs it"


@dataclass
class RedisServer:
    """A running server, without persistence; `command` talks to it directly, whatever its clients do."""

    port: int
    folder: Path
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """The URL for `state`, with enough time for a busy machine."""
        return f"redis://127.0.0.1:{self.port}/0?socket_timeout=30&socket_connect_timeout=30"

    @property
    def impatient_url(self) -> str:
        """A URL for tests in which the server hangs."""
        return f"redis://127.0.0.1:{self.port}/0?socket_timeout=0.5&socket_connect_timeout=5"

    def start(self) -> None:
        """Start it, empty."""
        assert REDIS is not None
        options = ("--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
        self.process = subprocess.Popen(
            [REDIS, *options, "--dir", str(self.folder), *self.options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._answers)

    def stop(self) -> None:
        """End it at once: connections are refused from now on."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        """Let it hang: the kernel accepts connections and bytes, nothing answers."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def command(self, *words: str | bytes) -> str:
        """Run one command and return the first answer, as text."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as peer:
            peer.sendall(b"*%d\r\n" % len(words))
            for word in words:
                data = word.encode() if isinstance(word, str) else word
                peer.sendall(b"$%d\r\n%s\r\n" % (len(data), data))
            answer = peer.recv(65536)
            if answer.startswith(b"$") and not answer.startswith(b"$-1"):
                head, _, text = answer.partition(b"\r\n")
                while len(text) < int(head[1:]) + 2:
                    text += peer.recv(65536)
                answer = text
        return answer.decode(errors="replace")

    def info(self, name: str) -> int:
        """Return one number of INFO."""
        lines = self.command("INFO", "everything").splitlines()
        return next(int(line.partition(":")[2]) for line in lines if line.startswith(f"{name}:"))

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "redis-server ended at its start"
        with contextlib.suppress(OSError):
            return "PONG" in self.command("PING") or "NOAUTH" in self.command("PING")
        return False


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@contextlib.contextmanager
def redis_server_at(folder: Path, *options: str) -> Iterator[RedisServer]:
    """Yield a server of its own, for a test that stops or freezes it or needs `options`; skips without Redis."""
    if REDIS is None:
        pytest.skip(WITHOUT_REDIS)
    server = RedisServer(free_port(), folder, options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for the whole run; use `redis`, which is empty."""
    with redis_server_at(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(shared_redis: RedisServer) -> RedisServer:
    """An empty server; the test must neither stop nor freeze it."""
    shared_redis.command("FLUSHALL")
    shared_redis.command("SCRIPT", "FLUSH")
    return shared_redis


class Line:
    """A TCP proxy in the test's event loop, between a client and the server; `delay` is in seconds each way."""

    def __init__(self, port: int) -> None:
        self.delay = 0.0
        self._target = port
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Line:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()

    @property
    def port(self) -> int:
        """The port of this proxy."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """The URL of the server through this proxy."""
        return f"redis://127.0.0.1:{self.port}/0?socket_timeout=0.5"

    def cut(self) -> None:
        """Reset all connections."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers += [writer, far_writer]
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(reader, far_writer))
                group.create_task(self._copy(far_reader, writer))
        writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if self.delay:
                    await asyncio.sleep(self.delay)
                writer.write(data)
        writer.close()
