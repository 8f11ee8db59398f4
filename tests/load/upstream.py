"""A scripted OpenAI-compatible upstream with a process of its own: `python -m tests.load.upstream NAME...`.

Each name is a provider with a port of its own; the first line of standard output says which. Commands come as lines of
JSON on standard input and are answered by one line each; its end ends the process. `harness.Upstreams` speaks this.
Its log of requests is what all other figures are compared with.
"""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import json
import random
import socket
import struct
import sys
import termios
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import uvloop

from proxy.core.clock import SystemClock
from tests.load.scripted import Behaviour, Seen, chunk, completion, cooldown_of, error, pieces, to_json, usage

_CLOCK = SystemClock()
_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 429: "Too Many Requests", 500: "Server Error"}
_LARGEST = 1 << 26


@dataclass
class Provider:
    """The scripted behaviour of one provider."""

    name: str
    random: random.Random
    mix: list[Behaviour] = field(default_factory=lambda: [Behaviour()])
    models: dict[str, list[Behaviour]] = field(default_factory=dict)  # in place of the mix, for these models
    revoked: set[str] = field(default_factory=set)  # rejected keys
    idle: float | None = None  # seconds until an idle connection is closed

    def choose(self, seen: Seen) -> Behaviour:
        """Return how this request is answered."""
        if seen.key in self.revoked:
            return Behaviour(status=401, code="invalid_api_key", message="This key was revoked.")
        mix = self.models.get(seen.model, self.mix)
        return self.random.choices(mix, [behaviour.weight for behaviour in mix])[0]


class _Connection(asyncio.StreamReaderProtocol):
    """A connection that records when the client leaves."""

    def __init__(self, server: Server, provider: Provider) -> None:
        super().__init__(asyncio.StreamReader(limit=_LARGEST), self._serve)
        self.gone = asyncio.Event()
        self.current: Seen | None = None
        self._server = server
        self._provider = provider

    def eof_received(self) -> bool | None:
        self._note()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._note()
        super().connection_lost(exc)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = next(self._server.connections)
        try:
            for turn in itertools.count(1):
                seen = await self._server.receive(reader, self._provider, number, turn)
                self.current = seen
                if not await _Answer(self, writer, seen, self._provider.choose(seen)).give():
                    break
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            pass
        finally:
            writer.close()

    def _note(self) -> None:
        self.gone.set()
        if self.current is not None and self.current.done_at is None:
            self.current.gone_at = _CLOCK.monotonic()
        self.current = None


class _Answer:
    """Writes one answer."""

    def __init__(self, connection: _Connection, writer: asyncio.StreamWriter, seen: Seen, behaviour: Behaviour) -> None:
        self._gone = connection.gone
        self._writer = writer
        self._seen = seen
        self._behaviour = behaviour

    async def give(self) -> bool:
        """Answer; return whether the connection may be used again."""
        behaviour, seen = self._behaviour, self._seen
        seen.status, seen.end, seen.cooldown = behaviour.status, behaviour.end, cooldown_of(behaviour)
        await self._pause(behaviour.before)
        if behaviour.end != "whole" and behaviour.after is None:
            return await self._break()
        if behaviour.status != 200:
            return await self._plain(error(behaviour))
        return await (self._stream() if seen.stream else self._plain(completion(seen.serial, behaviour.words)))

    async def _plain(self, body: bytes) -> bool:
        self._head("application/json", f"content-length: {len(body)}")
        if self._behaviour.end != "whole":
            self._write(body[: len(body) // 2])
            return await self._break()
        self._seen.sent = self._behaviour.words
        self._write(body)
        return await self._done()

    async def _stream(self) -> bool:
        behaviour, seen = self._behaviour, self._seen
        self._head("text/event-stream; charset=utf-8", "transfer-encoding: chunked")
        self._events([chunk({"role": "assistant", "content": ""})])
        await self._pause(behaviour.first)
        words = pieces(seen.serial, behaviour.words)[: behaviour.after]
        if behaviour.pace:
            for word in words:
                self._content([word])
                await self._pause(behaviour.pace)
        else:
            self._content(words)
        if behaviour.end != "whole":
            return await self._break()
        self._events([chunk({}, "stop"), chunk(None, usage=usage(behaviour.words)), b"data: [DONE]\n\n"])
        self._write(b"0\r\n\r\n")
        return await self._done()

    async def _done(self) -> bool:
        if not self._gone.is_set():
            self._seen.done_at = _CLOCK.monotonic()
        await self._writer.drain()
        return not self._gone.is_set()

    async def _break(self) -> bool:
        """End the answer early, as the behaviour says."""
        how = self._behaviour.end
        if how == "stall":
            await self._gone.wait()
            return False
        self._seen.done_at = _CLOCK.monotonic()
        if how == "rst":
            await self._reset()
        return False

    async def _reset(self) -> None:
        """Reset the connection once everything sent has been acknowledged."""
        found: socket.socket = self._writer.get_extra_info("socket")
        # The kernel has no event for the last acknowledgement.
        while struct.unpack("i", fcntl.ioctl(found.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0]:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def _head(self, content_type: str, framing: str) -> None:
        status = self._behaviour.status
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}", f"content-type: {content_type}", framing]
        lines += [f"{name}: {value}" for name, value in self._behaviour.headers.items()]
        self._write("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def _content(self, words: list[str]) -> None:
        self._events(chunk({"content": word}) for word in words)
        self._seen.sent += len(words)

    def _events(self, events: Iterable[bytes]) -> None:
        data = b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in events)
        self._write(data)

    def _write(self, data: bytes) -> None:
        if data and not self._gone.is_set():
            self._writer.write(data)

    async def _pause(self, seconds: float) -> None:
        """Wait, unless the client leaves."""
        if not seconds:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._gone.wait()
        except TimeoutError:
            return
        raise ConnectionResetError


class Server:
    """All providers, and the log."""

    def __init__(self, names: list[str]) -> None:
        self.providers = {name: Provider(name, random.Random(name)) for name in names}
        self.log: list[Seen] = []
        self.connections = itertools.count(1)
        self._arrived: set[str] = set()
        self._serials = itertools.count(1)
        self._servers: list[asyncio.Server] = []  # kept, or they are collected

    async def start(self) -> dict[str, int]:
        """Listen; return the ports by provider."""
        loop, ports = asyncio.get_running_loop(), {}
        for name, provider in self.providers.items():
            server = await loop.create_server(partial(_Connection, self, provider), "127.0.0.1", 0, backlog=4096)
            self._servers.append(server)
            ports[name] = int(server.sockets[0].getsockname()[1])
        return ports

    async def receive(self, reader: asyncio.StreamReader, provider: Provider, connection: int, turn: int) -> Seen:
        """Return the next request of a connection, logged once its body is complete."""
        async with asyncio.timeout(provider.idle if turn > 1 else None):
            first = await reader.readexactly(1)
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:]) if name}
        body = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))) or b"{}")
        seen = Seen(
            next(self._serials),
            provider.name,
            str(body.get("model")),
            headers.get("authorization", "").removeprefix("Bearer ") or None,
            bool(body.get("stream")),
            str((body.get("messages") or [{}])[-1].get("content")),
            _CLOCK.monotonic(),
            connection,
            turn,
        )
        self.log.append(seen)
        self._arrived.add(seen.call)
        return seen

    def execute(self, command: dict[str, Any]) -> Any:
        """Execute a command and return its result."""
        if command["do"] == "log":
            return [to_json(seen) for seen in self.log[command["since"] :]]
        if command["do"] == "arrived":
            return command["call"] in self._arrived
        if command["do"] == "clear":
            self.log.clear()
            self._arrived.clear()
            return None
        provider = self.providers[command["name"]]
        if command["do"] == "behave":
            mix = [Behaviour(**behaviour) for behaviour in command["mix"]]
            if command["model"] is None:
                provider.mix = mix
            else:
                provider.models[command["model"]] = mix
        elif command["do"] == "revoke":
            provider.revoked = set(command["keys"])
        elif command["do"] == "idle":
            provider.idle = command["seconds"]
        elif command["do"] == "seed":
            provider.random.seed(command["seed"])
        else:
            raise ValueError(f"no such command: {command['do']}")
        return None


async def main(names: list[str]) -> None:
    """Serve until standard input ends."""
    server = Server(names)
    _write_line(await server.start())
    commands = asyncio.StreamReader(limit=_LARGEST)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        _write_line(server.execute(json.loads(line)))


def _write_line(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1:]))
