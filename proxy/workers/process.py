"""One worker's process, as the supervisor sees it: its sockets, its messages, and how many connections it has."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable

from proxy.workers.board import OPEN, PID, RECEIVED
from proxy.workers.messages import Decoder, Message, encode

_READ = 1 << 20  # bytes at once


class Worker:
    """Sends and receives without blocking: what the worker does not read yet waits in a buffer.

    `row` is its row of the board; `on_message` gets each message.
    """

    def __init__(
        self,
        index: int,
        pid: int,
        row: memoryview,
        *,
        connections: socket.socket,
        control: socket.socket,
        selector: selectors.BaseSelector,
        started: float,
        on_message: Callable[[Worker, Message], None],
    ) -> None:
        self.index = index
        self.pid = pid
        self.started = started
        self.ready = False
        self.leaving = False
        self.sockets = (connections, control)
        self._row = row
        self._connections = connections
        self._control = control
        self._selector = selector
        self._on_message = on_message
        self._decoder = Decoder()
        self._outbox = bytearray()
        self._closed = False  # its end of the control socket
        self._watched = 0  # the events for which the control socket is registered
        self._given = 0  # connections
        self._recent = 0  # of them, since the last count
        self._excess = (0, 0)  # open connections beyond those of the emptiest worker, at the last two counts
        for each in self.sockets:
            each.setblocking(False)
        self._watch()

    @property
    def open(self) -> int:
        """Open connections, those included that it has not received yet."""
        return int(self._row[OPEN]) + self._given - int(self._row[RECEIVED])

    @property
    def load(self) -> int:
        """The connections that it has had beyond others for two counts, and those given since."""
        return min(self._excess) + self._recent

    def counted(self, excess: int) -> None:
        """Take note of a count: it has `excess` more open connections than the worker with the fewest."""
        self._excess = self._excess[1], excess
        self._recent = 0

    def give(self, connection: socket.socket) -> bool:
        """Give it a connection; return whether it took it: its queue may be full, or it may have ended."""
        try:
            socket.send_fds(self._connections, [b"c"], [connection.fileno()])
        except OSError:
            return False
        self._given += 1
        self._recent += 1
        return True

    def send(self, message: Message) -> None:
        """Send a message, now or as soon as it can be sent."""
        self._outbox += encode(message)
        self._flush()

    def close(self) -> None:
        """Act on what it has sent last, and close its sockets; its process has ended."""
        while self._read():
            pass
        self._closed = True
        self._watch()
        for each in self.sockets:
            each.close()
        self._row[PID] = 0

    def _on_ready(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush()
        if events & selectors.EVENT_READ:
            self._read()

    def _read(self) -> bool:
        """Act on what it has sent; return whether there may be more."""
        try:
            data = self._control.recv(_READ)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:  # it has ended, or is about to: SIGCHLD reports it
            self._closed = True
            self._watch()
            return False
        for message in self._decoder.feed(data):
            self._on_message(self, message)
        return True

    def _flush(self) -> None:
        try:
            sent = self._control.send(self._outbox)
        except BlockingIOError:
            sent = 0
        except OSError:  # it has ended
            sent = len(self._outbox)
        del self._outbox[:sent]
        self._watch()

    def _watch(self) -> None:
        """Wait for what can be read, and for space where something is left to write."""
        wanted = 0 if self._closed else selectors.EVENT_READ | (selectors.EVENT_WRITE if self._outbox else 0)
        if wanted == self._watched:
            return
        if not wanted:
            self._selector.unregister(self._control)
        elif not self._watched:
            self._selector.register(self._control, wanted, self._on_ready)
        else:
            self._selector.modify(self._control, wanted, self._on_ready)
        self._watched = wanted
