"""The relay: passes an answer to the client from the commit point to its end.

A complete answer ends as the upstream ended it. Any other end becomes one error event, never a silent end or a finish
that the upstream did not send. If another target may continue (`Rescue`), the error waits for that outcome.
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
from proxy.core.record import AttemptOutcome, AttemptRecord, Outcome, Record, Timings
from proxy.core.sse import split
from proxy.dialects.base import Decoder
from proxy.upstream.health import Lease

AFTER_END = 0.5  # seconds for an upstream to end the response body after the answer, so that the connection is reusable


@dataclass(frozen=True, slots=True)
class Start:
    """An answer that has reached its commit point: the bytes held back, and the failure that came with it, if any."""

    decoder: Decoder
    held: bytes
    ended: bool
    broken: UpstreamFailure | None = None


class Rescue(Protocol):
    """Continues a broken answer; implemented by `proxy.upstream.continuation`."""

    def saw(self, out: bytes) -> None:
        """Record bytes that were sent to the client."""
        ...

    def rest(self, failure: UpstreamFailure) -> AsyncGenerator[bytes, None] | None:
        """Return the continuation by another target; `None` or empty if there is none."""
        ...


async def until_commit(
    decoder: Decoder, chunks: AsyncGenerator[bytes, None], alive: Callable[[], None] = lambda: None
) -> Start:
    """Read to the commit point, calling `alive` for each chunk. Raises `UpstreamFailure` if the answer fails."""
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
    """Return at most `limit` bytes of an error's body; a broken body ends early."""
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
def waiting(clock: Clock, timings: Timings) -> Iterator[None]:
    """Count the time in the block as waiting for the upstream."""
    timings.upstream_begins(clock.monotonic())
    try:
        yield
    finally:
        timings.upstream_ends(clock.monotonic())


async def timed(clock: Clock, timings: Timings, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield the same chunks and count the wait for each as upstream time; closes `chunks` at the end."""
    try:
        while True:
            with waiting(clock, timings):
                chunk = await anext(chunks, None)
            if chunk is None:
                return
            yield chunk
    finally:
        await chunks.aclose()


class Relay:
    """Relays one answer and reports its end to the attempt, the lease and the record."""

    def __init__(
        self,
        clock: Clock,
        record: Record,
        attempt: AttemptRecord,
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
        self._kept: bytes | None = None  # the upstream's error event, while a continuation is tried
        self._oversized = False  # whether that event is too large to be relayed
        self._closed_at: float | None = None  # when the upstream completed the answer
        attempt.usage = start.decoder.usage
        record.native_finish = cleaner.field(start.decoder.native_finish)

    async def chunks(self, chunks: AsyncGenerator[bytes, None], idle: float) -> AsyncGenerator[bytes, None]:
        """Yield the client's bytes, with an error event at the end if the answer broke off.

        Raises `ProxyError` instead if the answer does not consist of events.
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
                self._attempt.usage = decoder.usage
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
        """Return the bytes to send now: all but the upstream's error event while a continuation is possible."""
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
        """Return the complete data before a failure, including what a translating decoder has held back."""
        return failure.partial + (self._decoder.finish() if self._decoder.complete else b"")

    async def _after(self, failure: UpstreamFailure, *, told: bool) -> AsyncGenerator[bytes, None]:
        """Yield the continuation, or else the error; with `told` the upstream has sent its own error event."""
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
            raise error from failure  # for example audio, which has no events
        yield error.event()

    async def _next(self, chunks: AsyncGenerator[bytes, None], idle: float) -> bytes | None:
        """Return the next chunk, `None` at the end. Raises `UpstreamFailure` if the upstream is silent for too long."""
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
        """Settle a complete answer before its last bytes go out, although the upstream has not closed yet."""
        if self._decoder.closed and self._decoder.fault is None and self._closed_at is None:
            self._closed_at = self._clock.monotonic()
            self._end(None)

    def _end(self, failure: UpstreamFailure | None) -> None:
        """Record how the answer ended; a complete answer stays complete."""
        if failure is not None:
            self._cleaner.failure(failure)
        attempt = self._attempt
        if self._record.outcome is Outcome.OK:
            return
        attempt.usage = self._decoder.usage
        if failure is None:
            attempt.end(AttemptOutcome.OK)
            self._record.end(Outcome.OK)
            first = attempt.first_token
            self._lease.succeed(None if first is None else first - attempt.started)
            return
        attempt.fail(failure)
        self._record.end(Outcome.PARTIAL, code=failure.code or UpstreamError.code)
        self._lease.fail(UpstreamFailure(FailureKind.BROKEN_STREAM, str(failure)))


def _error(failure: UpstreamFailure, record: Record) -> ProxyError:
    where = f"`{record.chosen.name}`" if record.chosen else "the upstream"
    kind = UpstreamTimeout if failure.status == 504 else UpstreamError
    return kind(f"The answer of {where} broke off: {str(failure).rstrip('. ')}.")
