"""One connection of a client, whatever is sent over it: flow control, and a close that does not lose the response.

If the client still sends when the connection is closed, its data is read and dropped for a while: closing earlier
resets the connection, and the client loses the response.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from proxy.core.errors import ProxyError

DROP_ROUNDS = (
    6  # rounds of half a `header_timeout` for which a slow body is dropped; a silent one is dropped for one round
)
DROP_RATE = 64 * 1024  # bytes per second; a slower body is slow
DROP_BYTES = 256 * 1024 * 1024
FLUSH = 30.0  # seconds for a closing connection to send buffered data
WRITE_BUFFER = 32 * 1024  # buffered bytes for a slow client above which the response pauses; the default is twice that


class Framing(Protocol):
    """Counts a body that arrives in pieces; see `framing.py`."""

    def end(self, data: bytes) -> int | None:
        """Return the end of the message in `data`, or `None` if it continues. Raises `ProxyError` above the limits."""
        ...


class Length:
    """A body with `content-length`."""

    def __init__(self, length: int) -> None:
        self._left = length

    def end(self, data: bytes) -> int | None:
        """As `Framing`."""
        left = self._left
        self._left -= len(data)
        return left if left <= len(data) else None


class Connection(asyncio.Protocol):
    """One connection. `header_timeout` and `write_stall` are seconds."""

    __slots__ = (
        *("_buffer", "_closing", "_drop_timer", "_dropped", "_framing", "_read_paused", "_stall_timer", "_whole"),
        *("_writable", "loop", "transport", "write_paused"),
    )
    header_timeout = 10.0
    write_stall = 60.0
    transport: asyncio.Transport

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.write_paused = False  # the write buffer is full
        self._writable: asyncio.Event | None = None  # set when it is not full any more
        self._stall_timer: asyncio.TimerHandle | None = None
        self._read_paused = False
        self._framing: Framing | None = None  # of the body that is being read
        self._whole = True  # the message was read completely
        self._buffer = bytearray()  # not parsed yet
        self._closing = False
        self._dropped = 0
        self._drop_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        transport.set_write_buffer_limits(high=WRITE_BUFFER)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._stop_stall()
        self._stop_dropping()
        self.write_paused = False
        if self._writable is not None:
            self._writable.set()

    def pause_writing(self) -> None:
        self.write_paused, self._writable = True, asyncio.Event()
        self._stall_timer = self.loop.call_later(
            self.write_stall, self._check_stall, self.transport.get_write_buffer_size()
        )

    def resume_writing(self) -> None:
        self.write_paused = False
        if self._writable is not None:
            self._writable.set()
        self._stop_stall()

    async def writable(self) -> None:
        """Wait until the write buffer has space, or the connection is lost."""
        if self.write_paused and self._writable is not None:
            await self._writable.wait()

    def pause_reading(self) -> None:
        """Stop reading from the client."""
        if not self._read_paused:
            self._read_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Continue to read from the client."""
        if self._read_paused:
            self._read_paused = False
            self.transport.resume_reading()

    def close(self) -> None:
        """Close the connection: immediately if the request was read completely, else after dropping its body."""
        if self._closing:
            return
        self._closing = True
        if self._whole and not self._buffer:
            self._finish()
        elif not self.transport.is_closing():
            self.resume_reading()
            self.transport.write_eof()
            self._stop_dropping()
            self._start_dropping(DROP_ROUNDS)

    def _drop(self, data: bytes) -> None:
        """Drop data after the response; finish at the end of the message, if that is known."""
        self._dropped += len(data)
        try:
            end = self._framing.end(data) if self._framing is not None else None
        except ProxyError:
            self._framing = end = None
        if end is not None or self._dropped > DROP_BYTES:
            self._finish()

    def _start_dropping(self, rounds: int) -> None:
        pause = self.header_timeout / 2
        self._drop_timer = self.loop.call_later(pause, self._check_dropping, self._dropped, rounds)

    def _check_dropping(self, before: int, rounds: int) -> None:
        """Finish if the body has paused for a round, or takes too long."""
        received = self._dropped - before
        slow = received < DROP_RATE * self.header_timeout / 2
        if not received or self._dropped > DROP_BYTES or (slow and rounds <= 1):
            self._closing = True
            self._finish()
        else:
            self._start_dropping(rounds - slow)

    def _stop_dropping(self) -> None:
        if self._drop_timer is not None:
            self._drop_timer.cancel()
            self._drop_timer = None

    def _finish(self) -> None:
        self._stop_dropping()
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self.loop.call_later(FLUSH, self.transport.abort)

    def _check_stall(self, before: int) -> None:
        """Abort the connection if the client has read nothing since `before` bytes were buffered."""
        waiting = self.transport.get_write_buffer_size()
        if waiting >= before:
            self.transport.abort()
        else:
            self._stall_timer = self.loop.call_later(self.write_stall, self._check_stall, waiting)

    def _stop_stall(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
