"""One connection to an origin, as an asyncio protocol. It carries one exchange at a time.

`answer` identifies the owner: while it is set, that exchange uses the connection; while it is None, the connection is
idle in its pool, or closed. A new connection has an `answer` before its first request, because some upstreams answer
before they receive one (overloaded load balancers, for example).

Reading pauses while more than `HIGH_WATER` bytes of an answer are buffered. A large request is written in pieces, as
fast as the upstream reads it; meanwhile its answer can already be read.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import Callable
from typing import cast

from proxy.upstream.net.answer import Answer
from proxy.upstream.net.faults import lost

READ_SIZE = 16 * 1024  # bytes per read
HIGH_WATER = 16 * 1024  # buffered bytes of an answer above which reading pauses
WRITE_SIZE = 64 * 1024  # bytes of a request per write

_NEVER_SENT = memoryview(b"")  # marks a request that is not sent completely: `release` then closes the connection


class Connection(asyncio.BufferedProtocol):
    """All connections share one read buffer.

    `on_lost` is called when an idle connection ends; `on_session` gets the TLS session of a connection after its first
    complete answer.
    """

    def __init__(
        self,
        buffer: memoryview,
        on_lost: Callable[[Connection], None],
        on_session: Callable[[ssl.SSLSession | None], None] | None = None,
    ) -> None:
        self.answer: Answer | None = Answer()
        self.closed = False
        self._on_lost = on_lost
        self._on_session = on_session
        self._buffer = buffer
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._poll = select.poll()
        self._served = False  # has completed an answer
        self._waiter: asyncio.Future[None] | None = None
        self.reading = True  # False while `pause` holds
        self._writing = True
        self._rest: memoryview | None = None  # the part of the request that was not written yet

    def send(self, head: bytes, content: bytes) -> Answer:
        """Begin an exchange; the returned answer owns the connection until `release`."""
        self.answer = answer = self.answer or Answer()
        if self.closed:
            return answer
        if answer.began:
            self._rest = _NEVER_SENT  # the answer may belong to no request, so the connection is not reused
        elif len(content) > WRITE_SIZE:
            content, self._rest = content[:WRITE_SIZE], memoryview(content)[WRITE_SIZE:]
        self._transport.write(head + content)
        if self._rest:
            self._write_rest()
        return answer

    def progress(self) -> asyncio.Future[None]:
        """Return a future that is done when more of the answer has arrived, or when it has ended."""
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def wake(self) -> None:
        """End the wait for `progress`."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def pause(self) -> None:
        """Stop reading until `resume`."""
        if self.reading and not self.closed:
            self.reading = False
            self._transport.pause_reading()

    def resume(self, answer: Answer) -> None:
        """Resume reading for `answer`, if reading was paused."""
        if not self.reading and self.answer is answer and not self.closed:
            self.reading = True
            self._transport.resume_reading()

    def release(self) -> bool:
        """End the exchange. Returns True if the connection can be reused; otherwise it is closed."""
        answer, self.answer = self.answer, None
        if answer is not None:
            answer.parser = None  # breaks the reference cycle; nothing is fed any more
        if answer is None or self.closed:
            return False
        if answer.complete and not self._served:
            self._served = True
            if self._on_session is not None:
                self._on_session(self._transport.get_extra_info("ssl_object").session)
        sent = self._rest is None and not self._transport.get_write_buffer_size()
        if answer.complete and answer.reusable and sent:
            if not self.reading:
                self.reading = True
                self._transport.resume_reading()
            return True
        answer.end()
        self.abort()
        return False

    @property
    def silent(self) -> bool:
        """Whether the connection is open and its socket has no data to read."""
        return not self.closed and not self._transport.is_closing() and not self._poll.poll(0)

    def close(self) -> None:
        """Close an idle connection, with a TLS shutdown."""
        self.closed = True
        self._transport.close()

    def abort(self) -> None:
        """Close immediately, discarding buffered data."""
        self.closed = True
        self._rest = None
        self._transport.abort()

    # Callbacks of the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_SIZE)
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        answer = self.answer
        if answer is None or answer.complete:  # bytes that belong to no answer
            if answer is not None:
                answer.reusable = False
            self._lose(None)
            return
        answer.feed(self._buffer[:nbytes])
        if answer.fault is not None:
            self.abort()
        elif answer.sink is not None and not answer.complete:
            if not answer.full and answer.error is None:
                return
            self.pause()
        elif answer.ready:
            if answer.status >= 300 and self._rest is not None:
                self._rest = _NEVER_SENT  # the upstream has rejected the request before reading all of it
            if answer.size > HIGH_WATER and not answer.complete:
                self.pause()
        else:
            return
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def eof_received(self) -> bool:
        self._lose(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(exc)

    def pause_writing(self) -> None:
        self._writing = False

    def resume_writing(self) -> None:
        self._writing = True
        self._write_rest()

    def _write_rest(self) -> None:
        """Write more of the request, until the write buffer is full."""
        while self._rest and self._writing and not self.closed:
            piece, self._rest = self._rest[:WRITE_SIZE], self._rest[WRITE_SIZE:] or None
            self._transport.write(piece)

    def _lose(self, error: Exception | None) -> None:
        """Close the connection after its end, or after invalid data, and end its answer."""
        if self.closed:
            return
        self.abort()
        answer = self.answer
        if answer is None:
            self._on_lost(self)
            return
        clean = error is None and answer.ready
        answer.end(None if clean else lost(error, began=answer.began, stale=self._served))
        self.wake()
