"""One connection to an origin, as an asyncio protocol. It carries one exchange at a time.

`answer` is the only owner: while it is set, that exchange uses the connection; while it is None, the connection is
idle in its pool, or closed. A new connection belongs to its first exchange from the beginning, so that an upstream may
answer before it is asked (an overloaded load balancer does).

Reading stops while more than `HIGH_WATER` of an answer waits to be taken. A large request goes out in pieces, as fast
as the upstream takes it, while its answer is already read.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import Callable
from typing import cast

from proxy.upstream.net.answer import Answer
from proxy.upstream.net.faults import lost

READ_SIZE = 16 * 1024  # bytes of one read
HIGH_WATER = 16 * 1024  # bytes of an answer that wait in memory before reading stops
WRITE_SIZE = 64 * 1024  # bytes of a request that are handed to the event loop at once

_NEVER_SENT = memoryview(b"")  # the rest of a request that is given up: the connection is closed in the end


class Connection(asyncio.BufferedProtocol):
    """All connections share one read buffer.

    `on_lost` is called once, when a connection ends that no exchange uses; `on_session` gets the TLS session of a
    connection that has brought an answer.
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
        self._served = False  # it has brought an answer
        self._waiter: asyncio.Future[None] | None = None
        self._reading = True
        self._writing = True
        self._rest: memoryview | None = None  # of the request, what has not been handed to the event loop

    def send(self, head: bytes, content: bytes) -> Answer:
        """Begin an exchange; the connection belongs to the answer that is returned, until `release`."""
        self.answer = answer = self.answer or Answer()
        if self.closed:
            return answer
        if answer.began:
            self._rest = _NEVER_SENT  # what comes may be no answer to this request, so it is the last one here
        elif len(content) > WRITE_SIZE:
            content, self._rest = content[:WRITE_SIZE], memoryview(content)[WRITE_SIZE:]
        self._transport.write(head + content)
        if self._rest:
            self._write_rest()
        return answer

    def progress(self) -> asyncio.Future[None]:
        """Return a future that is done when more of the answer has come, or it has ended."""
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def wake(self) -> None:
        """End the wait for `progress`."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def pause(self) -> None:
        """Stop reading until `resume`."""
        if self._reading and not self.closed:
            self._reading = False
            self._transport.pause_reading()

    def resume(self, answer: Answer) -> None:
        """Read on for `answer`, if reading was stopped."""
        if not self._reading and self.answer is answer and not self.closed:
            self._reading = True
            self._transport.resume_reading()

    def release(self) -> bool:
        """End the exchange. Returns whether the connection may serve another one; otherwise it is closed now."""
        answer, self.answer = self.answer, None
        if answer is None or self.closed:
            return False
        if answer.complete and not self._served:
            self._served = True
            if self._on_session is not None:
                self._on_session(self._transport.get_extra_info("ssl_object").session)
        sent = self._rest is None and not self._transport.get_write_buffer_size()
        if answer.complete and answer.reusable and sent:
            if not self._reading:
                self._reading = True
                self._transport.resume_reading()
            return True
        answer.end()
        self.abort()
        return False

    @property
    def silent(self) -> bool:
        """Whether the connection is open and has nothing to read, not even what the event loop has not seen yet."""
        return not self.closed and not self._transport.is_closing() and not self._poll.poll(0)

    def close(self) -> None:
        """Close an idle connection, politely."""
        self.closed = True
        self._transport.close()

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self.closed = True
        self._rest = None
        self._transport.abort()

    # What follows is called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_SIZE)
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        answer = self.answer
        if answer is None or answer.complete:  # bytes that no request asked for
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
                self._rest = _NEVER_SENT  # the upstream has decided without the rest of the request
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
        """Hand on the request as far as the upstream takes it."""
        while self._rest and self._writing and not self.closed:
            piece, self._rest = self._rest[:WRITE_SIZE], self._rest[WRITE_SIZE:] or None
            self._transport.write(piece)

    def _lose(self, error: Exception | None) -> None:
        """The connection has ended, or is of no more use."""
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
