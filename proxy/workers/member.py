"""A worker's side: it receives connections and commands from the supervisor, and asks the other workers."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from base64 import b64encode
from collections.abc import Awaitable, Callable, Coroutine
from itertools import count
from typing import Any

from proxy.workers.board import OPEN, PID, RECEIVED, Board
from proxy.workers.messages import Decoder, Message, encode

_LOG = logging.getLogger(__name__)
PATIENCE = 3.0  # seconds for the answers of the other workers
_BATCH = 64  # connections received at once

Answer = Callable[[str], Awaitable[str]]
Take = Callable[[socket.socket], Coroutine[Any, Any, None]]


class Member:
    """One worker. Create it in the worker's process; `attach` connects it to the event loop."""

    def __init__(
        self,
        index: int,
        board: Board,
        *,
        workers: int,
        connections: socket.socket,
        control: socket.socket,
        restarted: bool,
        configuration: bytes | None = None,
    ) -> None:
        self.index = index
        self.workers = workers
        self.restarted = restarted  # it replaces one that has ended
        self.configuration = configuration  # the last one that the workers loaded since the start, if any
        self.board = board
        self.row = board.row(index)
        self.row[PID] = os.getpid()
        self.answers: dict[str, Answer] = {}  # by topic: what this worker answers to the others
        self.commands: dict[str, Callable[[], None]] = {}  # `drain`, `interrupt`, `reload`
        self._connections = connections
        self._control = control
        self._decoder = Decoder()
        self._ids = count(1)
        self._waiting: dict[int, asyncio.Future[list[str]]] = {}
        self._outbox: asyncio.WriteTransport | None = None
        self._unsent = bytearray()  # messages from before `run`

    async def run(self, take: Take) -> None:
        """Receive connections, each given to `take`, and commands, until cancelled."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_unix_connection(lambda: _Control(self), sock=self._control)
        self._outbox = transport
        transport.write(self._unsent)
        self._connections.setblocking(False)
        async with asyncio.TaskGroup() as group:
            self._group = group
            loop.add_reader(self._connections, self._receive, take)
            self._send({"kind": "ready"})
            try:
                await asyncio.Event().wait()  # until cancelled
            finally:
                loop.remove_reader(self._connections)
                self.leave()

    def count(self, connections: int) -> None:
        """Publish the number of open connections."""
        self.row[OPEN] = connections

    def leave(self) -> None:
        """Ask the supervisor for no more connections."""
        self._send({"kind": "leaving"})

    def loaded(self, configuration: bytes) -> None:
        """Report a configuration that this worker has loaded: the one with which later workers start."""
        self._send({"kind": "loaded", "configuration": b64encode(configuration).decode()})

    async def ask(self, topic: str, body: str = "") -> list[str]:
        """Return the answers of all other workers; those that do not answer in time are left out."""
        number = next(self._ids)
        future: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._send({"kind": "ask", "id": number, "topic": topic, "body": body})
        try:
            async with asyncio.timeout(PATIENCE):
                return await future
        except TimeoutError:
            return []
        finally:
            self._waiting.pop(number, None)

    def feed(self, data: bytes) -> None:
        """Act on what the supervisor has sent."""
        for message in self._decoder.feed(data):
            self._act(message)

    def lost(self) -> None:
        """Finish the calls and end: without its supervisor a worker gets no connections."""
        self._command("drain")

    def _act(self, message: Message) -> None:
        kind = message["kind"]
        if kind == "question":
            self._group.create_task(self._answer(message["id"], message["topic"], message["body"]))
        elif kind == "reply":
            future = self._waiting.get(message["id"])
            if future is not None and not future.done():
                future.set_result(message["answers"])
        elif kind == "log":
            record = logging.makeLogRecord(message["record"])
            logging.getLogger(record.name).handle(record)
        else:
            self._command(kind)

    def _command(self, kind: str) -> None:
        command = self.commands.get(kind)
        if command is not None:
            command()

    async def _answer(self, number: int, topic: str, body: str) -> None:
        answer, text = self.answers.get(topic), ""
        try:
            text = "" if answer is None else await answer(body)
        except Exception:  # the other worker must get an answer, or it would wait until its timeout
            _LOG.exception("internal error while answering another worker", extra={"fields": {"topic": topic}})
        self._send({"kind": "answer", "id": number, "body": text})

    def _send(self, message: Message) -> None:
        if self._outbox is None:
            self._unsent += encode(message)
        elif not self._outbox.is_closing():
            self._outbox.write(encode(message))

    def _receive(self, take: Take) -> None:
        for _ in range(_BATCH):
            try:
                data, descriptors, _, _ = socket.recv_fds(self._connections, 1, 1)
            except BlockingIOError:
                return
            except OSError:
                data, descriptors = b"", []
            if not data:  # the supervisor has ended, as `lost` reports too
                asyncio.get_running_loop().remove_reader(self._connections)
                return
            self.row[RECEIVED] += 1
            for descriptor in descriptors:
                self._group.create_task(take(socket.socket(fileno=descriptor)))


class _Control(asyncio.Protocol):
    """The control socket in the event loop."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def data_received(self, data: bytes) -> None:
        self._member.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._member.lost()
