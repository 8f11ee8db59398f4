"""The surface of OpenAI's endpoints: their answers are canonical already, and go out as they are."""

from __future__ import annotations

from functools import partial

from proxy.core.call import Call
from proxy.core.errors import ProxyError
from proxy.core.record import Record
from proxy.surfaces.base import Encoder, ReadCall
from proxy.surfaces.decision import decision_record
from proxy.surfaces.openai.debug import DebugAnswer, DebugStream
from proxy.surfaces.openai.errors import error_body, error_event

COMMENT = b": keep-alive\n\n"  # an SSE comment, which clients ignore
_JSON, _EVENTS = "application/json", "text/event-stream"  # content types that can carry a decision record


class OpenAISurface:
    """One endpoint; `read` reads its bodies."""

    keep_alive = COMMENT

    def __init__(self, read: ReadCall) -> None:
        self.read = read

    def encoder(self, call: Call, record: Record, content_type: str, *, native: bool) -> Encoder | None:
        """Return an encoder that adds the decision record, if the client requested it."""
        if not call.options.debug or not content_type.startswith((_JSON, _EVENTS)):
            return None
        decide = partial(decision_record, record)
        return DebugStream(decide) if content_type.startswith(_EVENTS) else DebugAnswer(decide)

    def error(self, error: ProxyError) -> bytes:
        """Return the body of a response."""
        return error_body(error)

    def event(self, error: ProxyError) -> bytes:
        """Return the last event of a stream."""
        return error_event(error)
