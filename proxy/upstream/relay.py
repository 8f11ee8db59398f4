"""From the commit point on: chunks out as they come, and an honest end.

An answer that is complete ends as the upstream ended it. Any other end becomes one error event: never a silent end,
never a finish that the upstream did not send. Where somebody can go on (`Rescue`), the error waits until that is known.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Protocol

from proxy.core.clean import LONGEST_BODY, Cleaner
from proxy.core.clock import Clock
from proxy.core.durations import duration_text
from proxy.core.errors import ProxyError, UpstreamError, UpstreamTimeout
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.sse import split
from proxy.core.types import Attempt, Record
from proxy.dialects.base import Decoder
from proxy.upstream.health import Lease

AFTER_END = 0.5  # seconds for an upstream to close what it has ended, so that the connection can be used again


@dataclass(frozen=True, slots=True)
class Start:
    """An answer that has reached its commit point: what was held back, and the fault that came with it, if any."""

    decoder: Decoder
    held: bytes
    ended: bool
    broken: UpstreamFailure | None = None


class Rescue(Protocol):
    """Goes on where an answer broke off; `proxy.upstream.continuation` does."""

    def saw(self, out: bytes) -> None:
        """The client got this."""
        ...

    def rest(self, failure: UpstreamFailure) -> AsyncGenerator[bytes, None] | None:
        """What another target makes of the rest; None, or nothing in it, if there is nothing to be done."""
        ...


async def until_commit(
    decoder: Decoder, chunks: AsyncGenerator[bytes, None], alive: Callable[[], None] = lambda: None
) -> Start:
    """Read to the commit point, `alive` being told of each chunk. Raises `UpstreamFailure` if the answer fails."""
    held = bytearray()
    try:
        async for chunk in chunks:
            alive()
            held += decoder.feed(chunk)
            if decoder.committed:
                return Start(decoder, bytes(held), ended=False)
        held += decoder.finish()
    except UpstreamFailure as failure:
        if not decoder.committed:
            raise
        held += failure.partial
        failure.partial = b""
        return Start(decoder, bytes(held), ended=True, broken=failure)
    return Start(decoder, bytes(held), ended=True)


async def read_error(chunks: AsyncGenerator[bytes, None], limit: int) -> bytes:
    """An error's body as far as `limit`, or as far as it can be read: its status says enough."""
    body = bytearray()
    try:
        async for chunk in chunks:
            body += chunk
            if len(body) >= limit:
                break
    except UpstreamFailure:
        pass
    return bytes(body[:limit])


@contextmanager
def waiting(clock: Clock, record: Record) -> Iterator[None]:
    """Time that is the upstream's, not ours."""
    if not record.upstream_waits:
        record.upstream_since = clock.monotonic()
    record.upstream_waits += 1
    try:
        yield
    finally:
        record.upstream_waits -= 1
        if not record.upstream_waits:
            record.upstream_seconds += clock.monotonic() - record.upstream_since


async def timed(clock: Clock, record: Record, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The same chunks, with the wait for each of them counted; closes them in the end."""
    try:
        while True:
            with waiting(clock, record):
                chunk = await anext(chunks, None)
            if chunk is None:
                return
            yield chunk
    finally:
        await chunks.aclose()


class Relay:
    """One answer on its way to the client; writes how it ended to the attempt, the lease and the record."""

    def __init__(
        self,
        clock: Clock,
        record: Record,
        attempt: Attempt,
        lease: Lease,
        start: Start,
        *,
        cleaner: Cleaner,
        deadline: float,
        events: bool,
        rescue: Rescue | None = None,
    ) -> None:
        self._clock = clock
        self._record = record
        self._attempt = attempt
        self._lease = lease
        self._start = start
        self._decoder = start.decoder
        self._cleaner = cleaner
        self._deadline = deadline
        self._events = events
        self._rescue = rescue if events else None
        self._kept: bytes | None = None  # the upstream's own error event, until it is known whether somebody goes on
        self._oversized = False  # ... which is too large to be relayed
        self._closed_at: float | None = None  # when the upstream said that it was done
        record.usage = start.decoder.usage
        record.native_finish = cleaner.field(start.decoder.native_finish)

    async def chunks(self, chunks: AsyncGenerator[bytes, None], idle: float) -> AsyncGenerator[bytes, None]:
        """What the client gets, byte for byte, with an error event at the end if the answer broke off.

        Raises `ProxyError` instead where the answer is not made of events.
        """
        decoder = self._decoder
        try:
            self._end_if_whole()
            if out := self._given(self._start.held):
                yield out
            if self._start.broken:
                raise self._start.broken
            ended = self._start.ended
            while not ended and decoder.fault is None:
                chunk = await self._next(chunks, idle)
                out = decoder.finish() if chunk is None else decoder.feed(chunk)
                self._record.usage = decoder.usage
                self._record.native_finish = decoder.native_finish and self._cleaner.field(decoder.native_finish)
                ended = chunk is None
                self._end_if_whole()
                if out := self._given(out):
                    yield out
            failure, told = decoder.fault, not self._oversized
        except UpstreamFailure as exc:
            failure, told = None if decoder.complete else exc, False
            if out := self._given(self._remainder(exc)):
                yield out
        self._end(failure)
        if failure is not None:
            async with aclosing(self._after(failure, told=told)) as rest:
                async for out in rest:
                    yield out

    def _given(self, out: bytes) -> bytes:
        """What goes to the client now: all of it, but for the upstream's error event if somebody may go on."""
        if not out:
            return out
        if self._decoder.passed_error:
            out = self._cleaner.data(out)
        if self._decoder.fault is not None:
            *events, event = split(out)  # nothing follows an error
            self._oversized = len(event) > LONGEST_BODY
            event = b"" if self._oversized else self._cleaner.data(event)
            if self._rescue is None:
                return b"".join([*events, event])
            self._kept = event
            out = b"".join(events)
        if self._rescue is not None:
            self._rescue.saw(out)
        return out

    def _remainder(self, failure: UpstreamFailure) -> bytes:
        """What is whole although the answer broke off; also what a translator has held back for the end."""
        return failure.partial + (self._decoder.finish() if self._decoder.complete else b"")

    async def _after(self, failure: UpstreamFailure, *, told: bool) -> AsyncGenerator[bytes, None]:
        """What comes after a fault: the rest from somewhere else, or the error. `told`: the upstream said it itself."""
        error = _error(failure, self._record)
        rest = self._rescue.rest(failure) if self._rescue else None
        if rest is not None:
            goes_on = False
            async with aclosing(rest):
                async for out in rest:
                    goes_on = True
                    yield out
            if goes_on:
                return
        if told:
            if self._kept:
                yield self._kept
            return
        self._record.code = error.error_code
        if not self._events:
            raise error from failure  # sound, say, in which no event has a place
        yield error.event()

    async def _next(self, chunks: AsyncGenerator[bytes, None], idle: float) -> bytes | None:
        """The next chunk, None at the end. Raises `UpstreamFailure` if the upstream stays silent for too long."""
        now = self._clock.monotonic()
        patience = idle if self._closed_at is None else self._closed_at + AFTER_END - now
        left = self._deadline - now
        try:
            async with asyncio.timeout(min(patience, left)):
                return await anext(chunks, None)
        except TimeoutError:
            message = f"no data came for {duration_text(idle)}" if left > patience else "the answer took too long"
            raise UpstreamFailure(FailureKind.BROKEN_STREAM, message, status=504) from None

    def _end_if_whole(self) -> None:
        """With the last piece the client has it all, and may leave although the upstream has not hung up yet."""
        if self._decoder.closed and self._decoder.fault is None and self._closed_at is None:
            self._closed_at = self._clock.monotonic()
            self._end(None)

    def _end(self, failure: UpstreamFailure | None) -> None:
        """Say how it ended; what is whole stays whole."""
        if failure is not None:
            self._cleaner.failure(failure)
        if self._record.outcome == "ok":
            return
        self._record.usage = self._decoder.usage
        if failure is None:
            self._attempt.outcome = "ok"
            self._record.outcome = "ok"
            first = self._attempt.first_token_ms
            self._lease.succeed(None if first is None else first / 1000)
            return
        self._attempt.outcome = FailureKind.BROKEN_STREAM.value
        self._attempt.cause, self._attempt.error = failure.cause, str(failure) if failure.cause else None
        self._record.outcome = "partial"
        self._record.code = failure.code or UpstreamError.code
        self._lease.fail(UpstreamFailure(FailureKind.BROKEN_STREAM, str(failure)))


def _error(failure: UpstreamFailure, record: Record) -> ProxyError:
    where = f"`{record.chosen.name}`" if record.chosen else "the upstream"
    kind = UpstreamTimeout if failure.status == 504 else UpstreamError
    return kind(f"The answer of {where} broke off: {str(failure).rstrip('. ')}.")
