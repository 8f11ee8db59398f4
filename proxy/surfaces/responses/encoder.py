"""Writes the answer of a Responses call: a stream of events, or one response object.

Both read a canonical chat completion and make the same items of it. The response object is complete when the finish
reason has come; its last event, or the whole body, is returned by `finish`, because the turn is stored before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.core.call import Call
from proxy.core.errors import ProxyError, UpstreamError
from proxy.core.json_text import object_of
from proxy.core.record import Record
from proxy.core.sse import DONE, Events, data_of
from proxy.core.turn import Turn
from proxy.surfaces.base import Encoder
from proxy.surfaces.decision import decision_record
from proxy.surfaces.responses.answer import Answer, numbered
from proxy.surfaces.responses.compacted import CompactionAnswer
from proxy.surfaces.responses.context import RequestContext
from proxy.surfaces.responses.document import ResponseDocument, counted, usage_of
from proxy.surfaces.responses.events import EventWriter
from proxy.surfaces.responses.failed import error_of
from proxy.surfaces.responses.observer import NativeAnswer, NativeStream, keeps
from proxy.surfaces.responses.parameters import SEARCH_SOURCES
from proxy.surfaces.responses.sealing import Sealing

EVENT_LIMIT = 1 << 30  # bytes of an event; the decoder has limited them already
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def encoder_of(call: Call, record: Record, *, native: bool) -> Encoder | None:
    """Return what writes the answer of a call; `None` if the bytes of a `native` target are the client's."""
    turn = call.turn
    assert turn is not None
    if not native:
        return StreamEncoder(call, record, turn) if call.stream else WholeEncoder(call, record, turn)
    if call.stream:
        return NativeStream(turn)
    return NativeAnswer(turn) if keeps(turn) else None


class _Encoder:
    """What streams and whole answers have in common."""

    def __init__(self, call: Call, record: Record, turn: Turn, *, live: bool) -> None:
        context: RequestContext = turn.context
        stem = turn.id.removeprefix("resp_")
        self._record = record
        self._debug = call.options.debug
        self._turn = turn
        self._events = EventWriter(live=live)
        kind = CompactionAnswer if context.compacts else Answer
        self._answer = kind(self._events, stem, context.tools, Sealing(call, record))
        self._answer.shows_sources = SEARCH_SOURCES in (context.document.get("include") or ())
        self._document = ResponseDocument(
            turn.id,
            record.time // 1_000_000,
            call.model,
            context.document,
            store=turn.store,
            conversation=turn.conversation,
        )
        self._finished: str | None = None  # the finish reason, once it has come
        self._changed = False  # the turn does not have the answer as it is now

    def _take(self, completion: Mapping[str, Any], name: str) -> None:
        """Take the delta or message, called `name`, of a chunk or a completion."""
        choices = completion.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict) or choice.get("index"):
                continue  # a response has one choice
            delta = choice.get(name)
            if isinstance(delta, dict):
                whole = name == "message"
                self._answer.add(numbered(delta) if whole else delta, choice.get("logprobs"))
            reason = choice.get("finish_reason")
            if self._finished is not None:
                self._end(self._finished)  # what came after the finish
            elif reason and isinstance(reason, str):
                self._end(reason)
        usage = completion.get("usage")
        if usage and isinstance(usage, dict):
            self._document.usage = usage_of(usage)
            self._changed = True
        tier = completion.get("service_tier")
        if tier and isinstance(tier, str):
            self._document.service_tier = tier

    def _end(self, reason: str) -> None:
        """Close all items: the answer is complete."""
        document = self._document
        self._finished = reason
        self._changed = True
        document.incomplete = _INCOMPLETE.get(reason)
        document.status = "failed" if reason == "error" else "incomplete" if document.incomplete else "completed"
        if document.status == "completed":
            self._answer.ensure_message()
        elif document.status == "failed":
            document.error = {"code": "server_error", "message": "The provider ended the answer with an error."}
        if document.status != "failed":
            self._answer.close("completed" if document.status == "completed" else "incomplete")

    def _note_turn(self) -> None:
        """Put the complete answer into the turn, which is stored before `finish`."""
        self._changed = False
        self._update()
        if self._document.status != "failed":
            self._turn.output = self._answer.values()
            self._turn.document = self._document.value(self._turn.output)

    def _update(self) -> None:
        """Bring the usage and the time of a complete answer up to date."""
        document, record = self._document, self._record
        usage = record.attempts[-1].usage if record.attempts else None
        if document.usage is None and usage is not None:
            document.usage = counted(usage)
        if document.status == "completed":
            timings = record.timings
            now = timings.answered or timings.first_token or timings.started
            document.completed_at = int(record.time / 1e6 + now - timings.started)

    def _close(self) -> None:
        """Bring the object up to date before it is written for the last time."""
        if self._finished is None:
            self._end("stop")
        self._update()
        if self._debug:
            self._document.decision = decision_record(self._record)


class StreamEncoder(_Encoder):
    """A stream of events."""

    def __init__(self, call: Call, record: Record, turn: Turn) -> None:
        super().__init__(call, record, turn, live=True)
        self._chunks = Events(EVENT_LIMIT)
        self._begun = False

    def feed(self, data: bytes) -> bytes:
        """Return the events for a piece of a chat completion's stream, but for the last one."""
        for event in self._chunks.feed(data):
            self._read(event)
        if self._changed and self._finished is not None:
            self._note_turn()
        return self._events.take()

    def finish(self) -> bytes:
        """Return the last event: the response is completed or incomplete."""
        self._read(self._chunks.rest())
        if not self._begun:
            self._begin()
        self._close()
        self._write(f"response.{self._document.status}")
        return self._events.take()

    def fail(self, error: ProxyError) -> bytes:
        """Return the last event: the response has failed."""
        if not self._begun:
            self._begin()
        document = self._document
        document.status, document.error = "failed", error_of(error)
        document.incomplete = document.completed_at = None
        if self._debug:
            document.decision = decision_record(self._record)
        self._write("response.failed")
        return self._events.take()

    def _read(self, event: bytes) -> None:
        data = data_of(event)
        if data == DONE:
            self._changed = True  # the time of the end is known
        chunk = object_of(data) if data else None
        if chunk is not None:
            if not self._begun:
                self._begin(chunk.get("model"))
            self._take(chunk, "delta")
        elif data and data.strip() == DONE and self._finished is None:  # some providers give no reason
            self._end("stop")

    def _begin(self, model: Any = None) -> None:
        self._begun = True
        if model and isinstance(model, str):
            self._document.model = model
        self._write("response.created")
        self._write("response.in_progress")

    def _write(self, kind: str) -> None:
        """Write an event with the response object."""
        output = self._answer.values() if self._events.number > 1 else ()
        self._events.encoded(kind, b'"response":' + self._document.encoded(output))


class WholeEncoder(_Encoder):
    """One response object."""

    def __init__(self, call: Call, record: Record, turn: Turn) -> None:
        super().__init__(call, record, turn, live=False)
        self._body = b""

    def feed(self, data: bytes) -> bytes:
        """Take a chat completion."""
        self._body += data
        completion = object_of(self._body)
        if completion is not None:
            self._body = b""
            self._begin(completion)
        return b""

    def finish(self) -> bytes:
        """Return the response. Raises `UpstreamError` if there is none."""
        if self._finished is None:
            raise UpstreamError("The target's answer is not a chat completion.")
        self._close()
        return self._written(self._document, self._answer.values())

    def _written(self, document: ResponseDocument, output: list[dict[str, Any]]) -> bytes:
        return document.encoded(output)

    def fail(self, error: ProxyError) -> bytes:
        """Return nothing: what is not whole must not look like it."""
        return b""

    def _begin(self, completion: dict[str, Any]) -> None:
        model = completion.get("model")
        if model and isinstance(model, str):
            self._document.model = model
        self._take(completion, "message")
        if self._finished is None:
            self._end("stop")
        self._note_turn()
