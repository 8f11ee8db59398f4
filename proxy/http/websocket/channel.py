"""One WebSocket connection: queues the client's messages, answers its pings, and notices its end.

It is the protocol of the connection after the handshake. The HTTP protocol, which had it before, still counts the
connection, applies `server.write_stall`, and hears of its end.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from proxy.admission.watermark import BodyMemory
from proxy.core.errors import ProxyError
from proxy.http.output import Cycle
from proxy.http.reading import Limits
from proxy.http.websocket.frames import Close, FrameError, FrameReader, Opcode, close_frame, frame

MOST_WAITING = 16  # messages that wait while a turn runs
PING_SECONDS = 20.0  # between two pings
DEAD_SECONDS = 60.0  # a client that has sent nothing for so long, not even a pong, is gone
CLOSE_SECONDS = 2.0  # for the client to close the connection


class Channel(asyncio.Protocol):
    """The connection of `cycle`, whose response is the handshake."""

    def __init__(self, cycle: Cycle, limits: Limits) -> None:
        self._cycle = cycle
        self._transport: Any = cycle.take_over()
        self._http: Any = self._transport.get_protocol()
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._memory = BodyMemory(limits.watermark)
        self._reader = FrameReader(limits.max_body)
        self._waiting: deque[bytes] = deque()
        self._received = self._loop.time()  # when the client has last sent something
        self._timer: asyncio.TimerHandle | None = None
        self._arrived = asyncio.Event()  # a message has, or the end
        self.on_end: Callable[[], None] | None = None  # of the connection
        self.closing = False  # a `CLOSE` frame was sent, or the connection is lost
        self._lost = asyncio.Event()

    def open(self, head: bytes) -> None:
        """Answer the handshake, and take the connection."""
        self._transport.set_protocol(self)
        self._transport.write(head)
        self._timer = self._loop.call_later(PING_SECONDS, self._ping)

    async def receive(self) -> bytes | None:
        """Return the next message; `None` after the end of the connection."""
        while not self._waiting and not self.closing:
            self._arrived.clear()
            await self._arrived.wait()
        if self.closing:
            return None
        self._memory.release()
        return self._waiting.popleft()

    def send(self, texts: Iterable[bytes]) -> bool:
        """Send messages; return whether the client takes more now, otherwise `drain` first."""
        if not self.closing:
            self._transport.write(b"".join([frame(Opcode.TEXT, text) for text in texts]))
        return not self._cycle.delivering

    @property
    def delivering(self) -> bool:
        """Whether data waits for the client to read it."""
        return self._cycle.delivering and not self._lost.is_set()

    async def drain(self) -> None:
        """Wait until the client takes more, or is gone."""
        await self._cycle.drain()

    def close(self, code: int, reason: str = "") -> None:
        """Send a `CLOSE` frame; the client has `CLOSE_SECONDS` to close the connection."""
        if not self.closing:
            self._transport.write(close_frame(code, reason))
            if not self._transport.is_closing():
                self._transport.write_eof()  # not a close, which resets a connection whose client still sends
            self._end()
            self._timer = self._loop.call_later(CLOSE_SECONDS, self._transport.abort)

    async def closed(self) -> None:
        """Wait for the end of the connection."""
        await self._lost.wait()

    def abort(self) -> None:
        """End the connection at once."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client. After an error they are dropped until the client closes the connection."""
        if self.closing:
            return
        self._received = self._loop.time()
        try:
            for opcode, payload in self._reader.feed(data):
                if not self._take(opcode, payload):
                    return
            if self._reader.size > self._memory.covered:
                self._memory.cover(min(2 * self._reader.size, self._limits.max_body))
        except FrameError as error:
            self.close(error.code, str(error))
        except ProxyError:
            self.close(Close.TRY_AGAIN, "the server is short of memory (`server.memory_watermark`)")

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._end()
        self._lost.set()
        self._http.connection_lost(exc)

    def eof_received(self) -> bool:
        """The client sends nothing more: close the connection."""
        return False

    def pause_writing(self) -> None:
        """Let writers wait."""
        self._http.pause_writing()

    def resume_writing(self) -> None:
        """Let writers go on."""
        self._http.resume_writing()

    def _take(self, opcode: Opcode, payload: bytes) -> bool:
        """Take a message or a control frame; return whether the connection stays open."""
        if opcode is Opcode.TEXT:
            self._waiting.append(payload)
            self._arrived.set()
            if len(self._waiting) > MOST_WAITING or sum(map(len, self._waiting)) > self._limits.max_body:
                self.close(Close.POLICY, "too many messages; wait for the end of an answer")
        elif opcode is Opcode.PING and not self._cycle.delivering:  # a client that reads nothing gets no pongs
            self._transport.write(frame(Opcode.PONG, payload))
        elif opcode is Opcode.CLOSE:
            self._transport.write(close_frame(Close.NORMAL) if payload else frame(Opcode.CLOSE, b""))
            self._end()
            self._transport.close()
        return not self.closing

    def _ping(self) -> None:
        silence = self._loop.time() - self._received
        if silence >= DEAD_SECONDS:
            self._transport.abort()
            return
        if silence >= PING_SECONDS:
            self._transport.write(frame(Opcode.PING, b""))
        self._timer = self._loop.call_later(PING_SECONDS, self._ping)

    def _end(self) -> None:
        """Note that nothing more is sent or received."""
        if self._timer is not None:
            self._timer.cancel()
        if not self.closing:
            self.closing = True
            self._waiting.clear()
            self._memory.release()
            self._arrived.set()
            if self.on_end is not None:
                self.on_end()
