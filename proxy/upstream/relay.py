"""The relay: passes an answer to the client from the commit point to its end.

A complete answer ends as the upstream ended it. Any other end raises a `ProxyError`, which becomes the client's last
event: never a silent end, or a finish that the upstream did not send. If another target may continue (`Rescue`), the
error waits for that outcome.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Protocol

from proxy.core.call import Call
from proxy.core.clean import LONGEST_BODY
from proxy.core.clock import Clock
from proxy.core.durations import duration_text
from proxy.core.errors import ProxyError, UpstreamError
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.model import Kind
from proxy.core.record import AttemptOutcome, Outcome
from proxy.upstream.attempt import Attempt
from proxy.upstream.outcome import broken_error, reported_error
from proxy.upstream.transport import Drain, Feed, Response

AFTER_END = 0.5  # seconds for an upstream to end the response body after the answer, so that the connection is reusable
JSON, EVENTS = "application/json", "text/event-stream"
_SOUND = ("audio/", "video/", "application/ogg", "application/octet-stream", EVENTS)  # content types of speech


class Rescue(Protocol):
    """Continues a broken answer; implemented by `proxy.upstream.continuation`."""

    def saw(self, out: bytes) -> None:
        """Record bytes that were sent to the client."""
        ...

    async def relay(self, failure: UpstreamFailure, write: Feed, drain: Drain) -> bool:
        """Write the continuation by another target; return `False` if there is none."""
        ...


class _Ended(Exception):
    """Ends the pump: the upstream's own error has arrived, and nothing follows it."""


class Relay:
    """The answer of one attempt: `headers` and `stream` for the client's response, and `run`, which writes the body.

    The client's status is 200. `stream`: the body is written as it arrives; otherwise it is whole when `run` returns.
    """

    status = 200
    _closed = False  # the upstream has sent the end of the answer

    def __init__(self, attempt: Attempt, clock: Clock, rescue: Rescue | None = None) -> None:
        call, response = attempt.run.call, attempt.response
        assert response is not None
        self.headers = _headers(attempt, response, call)
        events = call.kind in ("chat", "completion") or self.headers["content-type"].startswith(EVENTS)
        self.stream = call.stream or not self.headers["content-type"].startswith(JSON)
        self.native = attempt.native  # the bytes are in the client's own format
        self.aclose = attempt.close  # releases what the attempt holds
        self._attempt = attempt
        self._response = response
        self._decoder = attempt.decoder
        self._clock = clock
        self._rescue = rescue if events else None
        self._ledger = attempt.ledger
        self._record = record = attempt.run.record
        record.chosen, record.dropped = attempt.target.deployment, attempt.dropped
        record.timings.first_token = attempt.committed
        attempt.entry.usage = self._decoder.usage
        self._note_finish()

    async def whole(self) -> bytes:
        """Return the whole body of an answer that is not a stream. Raises `ProxyError` if it broke off."""
        attempt, decoder = self._attempt, self._decoder
        if attempt.ended and attempt.broken is None and decoder.fault is None and not decoder.passed_error:
            self._end(None)
            return attempt.held
        pieces: list[bytes] = []

        def keep(data: bytes) -> bool:
            pieces.append(data)
            return True

        await self.run(keep, self._never)
        return b"".join(pieces)

    async def run(self, write: Feed, drain: Drain) -> None:
        """Write the answer. Raises `ProxyError` if it broke off, with the upstream's own error event if it sent one."""
        self._write, self._client_drain = write, drain
        self._now = asyncio.get_running_loop().time
        timeouts = self._attempt.target.deployment.timeouts
        self._idle = timeouts.idle
        passed = self._clock.monotonic() - self._attempt.entry.started
        self._latest = self._now() + timeouts.total - passed  # of the event loop's clock
        attempt, decoder = self._attempt, self._decoder
        try:
            self._end_if_closed()
            if not self._pass(attempt.held):
                await self._drain()
            if attempt.broken:
                raise attempt.broken
            if not attempt.ended and decoder.fault is None:
                await self._pump()
            failure, reported = decoder.fault, True
        except UpstreamFailure as exc:
            failure, reported = None if decoder.complete else exc, False
            self._pass(self._remainder(exc))
        self._end(failure)
        if failure is not None:
            await self._after(failure, reported=reported)

    async def _never(self) -> None:
        """Do not wait: there is always room for a whole body."""

    async def _pump(self) -> None:
        """Pass on the rest of the body as it arrives. Raises `UpstreamFailure` if the upstream falls silent."""
        deadline, timings, decoder = self._attempt.deadline, self._record.timings, self._decoder
        timings.upstream_begins(self._clock.monotonic())
        deadline.start(self._patience())
        try:
            await self._response.pump(self._feed, self._drain)
        except _Ended:
            return
        except asyncio.CancelledError:
            if not deadline.expired():
                raise
            late = self._now() >= self._latest
            message = "the answer took too long" if late else f"no data came for {duration_text(self._idle)}"
            raise UpstreamFailure(FailureKind.BROKEN_STREAM, message, status=504) from None
        finally:
            deadline.stop()
            timings.upstream_ends(self._clock.monotonic())
            self._note_usage()
        out = decoder.finish()
        self._note_usage()
        self._end_if_closed()
        self._pass(out)

    def _feed(self, data: bytes) -> bool:
        """Pass on one piece of the upstream's body; return whether the client takes more now."""
        end = self._now() + self._idle
        self._attempt.deadline.end = end if end < self._latest else self._latest
        attempt, decoder = self._attempt, self._decoder
        out = decoder.feed(data)
        attempt.later_bytes += len(out)
        attempt.later_events += out.count(b"\n\n")
        if decoder.closed or decoder.passed_error or self._rescue is not None:
            return self._feed_last(out)
        return self._write(out) if out else True

    def _feed_last(self, out: bytes) -> bool:
        """Pass on what needs more than that: the end of an answer, an error, or an answer that may be continued."""
        if self._end_if_closed():
            self._attempt.deadline.start(self._patience())
        more = self._pass(out)
        if self._decoder.fault is not None:
            raise _Ended
        return more

    def _patience(self) -> float:
        """Return the seconds until the upstream is too silent or too late."""
        return min(self._idle, self._latest - self._now())

    async def _drain(self) -> None:
        """Wait for the client; this is no silence of the upstream."""
        deadline, timings, clock = self._attempt.deadline, self._record.timings, self._clock
        waiting = timings.waits_for_upstream
        if waiting:
            deadline.stop()
            timings.upstream_ends(clock.monotonic())
        await self._client_drain()
        if waiting:
            timings.upstream_begins(clock.monotonic())
            deadline.start(self._patience())

    def _pass(self, out: bytes) -> bool:
        """Write bytes; return whether the client takes more now."""
        if not out:
            return True
        if self._decoder.passed_error:
            out = self._attempt.cleaner.data(out)
        if self._rescue is not None:
            self._rescue.saw(out)
        return self._write(out)

    def _remainder(self, failure: UpstreamFailure) -> bytes:
        """Return the complete data before a failure, including what a translating decoder has held back."""
        return failure.partial + (self._decoder.finish() if self._decoder.complete else b"")

    async def _after(self, failure: UpstreamFailure, *, reported: bool) -> None:
        """Write the continuation, or else raise the error; `reported`: the upstream itself sent it in the stream."""
        if self._rescue is not None and await self._rescue.relay(failure, self._write, self._client_drain):
            return
        raise self._error(failure, reported=reported)

    def _error(self, failure: UpstreamFailure, *, reported: bool) -> ProxyError:
        if reported and len(failure.event) <= LONGEST_BODY:
            error = reported_error(failure)
            error.native_event, error.native_format = self._attempt.cleaner.data(failure.event), failure.format
        else:
            error = broken_error(failure, self._record.chosen)
        self._record.code = error.error_code
        return error

    def _end_if_closed(self) -> bool:
        """Settle a complete answer before its last bytes go out, although the upstream has not ended its body yet."""
        if not self._decoder.closed or self._decoder.fault is not None or self._closed:
            return False
        self._closed = True
        self._latest = min(self._latest, self._now() + AFTER_END)
        self._end(None)
        return True

    def _note_usage(self) -> None:
        if (usage := self._decoder.usage) is not None:
            self._attempt.entry.usage = usage
        self._note_finish()

    def _note_finish(self) -> None:
        native = self._decoder.native_finish
        self._record.finish_reason = self._decoder.finish_reason
        self._record.native_finish = self._attempt.cleaner.field(native) if native else None

    def _end(self, failure: UpstreamFailure | None) -> None:
        """Record how the answer ended; a complete answer stays complete."""
        if failure is not None:
            self._attempt.cleaner.failure(failure)
            # The traceback refers to `run`: the cycle would keep the answer until it is collected.
            failure.__traceback__ = failure.__context__ = failure.__cause__ = None
        record, entry, lease = self._record, self._attempt.entry, self._attempt.lease
        if record.outcome is Outcome.OK:
            return
        entry.usage = self._decoder.usage
        if failure is not None or entry.usage is None:
            self._attempt.estimate_usage()
        if failure is None:
            record.timings.answered = self._clock.monotonic()
            entry.end(AttemptOutcome.OK)
            record.end(Outcome.OK)
            lease.succeed(self._attempt.committed - entry.started)
            if self._attempt.reserved is not None:
                self._attempt.settle_budgets()  # before the client has the end of the answer
            if self._ledger is not None:
                self._ledger.end(record)
            return
        entry.fail(failure)
        record.end(Outcome.PARTIAL, code=failure.code or UpstreamError.code)
        lease.fail(UpstreamFailure(FailureKind.BROKEN_STREAM, str(failure)))


def _headers(attempt: Attempt, response: Response, call: Call) -> dict[str, str]:
    """Return the upstream headers that pass to the client: `content-type` and those that the dialect names."""
    dialect, prefixes = attempt.dialect, attempt.dialect.passed
    headers: dict[str, str] = {}
    for name in response.headers:
        if name.startswith(prefixes):
            headers = attempt.cleaner.headers(response.headers, prefixes)
            break
    if dialect.translates:
        kind = EVENTS + "; charset=utf-8" if call.stream else JSON
    elif (kind := response.headers.get("content-type", "")) != JSON:
        kind = attempt.cleaner.header(kind) or (EVENTS if call.stream else JSON)
    events = call.stream and (call.native is None or call.native.events)
    headers["content-type"] = _label(kind, call.kind, call.endpoint, stream=events)
    return headers


@lru_cache(256)
def _label(label: str, kind_of_model: Kind, endpoint: str, *, stream: bool) -> str:
    """Return the content type of an answer, corrected if the upstream's does not fit."""
    kind = label.lower().partition(";")[0].strip()
    if kind_of_model in ("chat", "completion"):
        wanted = EVENTS if stream else JSON
        return label if kind == wanted else wanted
    if endpoint == "speech":
        return label if kind.startswith(_SOUND) else "application/octet-stream"
    if kind_of_model == "audio":
        return JSON if kind == "text/html" else label
    may_stream = stream or kind_of_model == "image"
    return label if kind == JSON or (may_stream and kind == EVENTS) else JSON
