"""The surface of `POST /v1/messages` and `/v1/messages/count_tokens`.

A request becomes a chat call, and keeps its own bytes for targets that speak Anthropic's format. `docs/messages.md` has
the table of what is translated.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from proxy.core.agents import agent_name
from proxy.core.body import Document, parse
from proxy.core.call import COUNTING, Call, NativeRequest
from proxy.core.errors import InvalidRequest, ProxyError
from proxy.core.json_text import compact_nulled
from proxy.core.messages import UNKNOWN
from proxy.core.principal import Principal
from proxy.core.record import Record
from proxy.core.snapshot import Snapshot
from proxy.core.spans import edit
from proxy.surfaces.agents import note
from proxy.surfaces.base import Encoder
from proxy.surfaces.carriers import unseal
from proxy.surfaces.headers import forwarded
from proxy.surfaces.messages.answer import MessageAnswer
from proxy.surfaces.messages.carry import Seals, put_back
from proxy.surfaces.messages.errors import error_body, error_event
from proxy.surfaces.messages.history import Restore, instructions, read_messages
from proxy.surfaces.messages.native import opened
from proxy.surfaces.messages.notes import Notes
from proxy.surfaces.messages.parameters import read_parameters
from proxy.surfaces.messages.stream import MessageStream
from proxy.surfaces.messages.tools import read_tools
from proxy.surfaces.openai.checks import check_unique
from proxy.surfaces.openai.shape import read_shape
from proxy.surfaces.options import read_options

PING = b'event: ping\ndata: {"type": "ping"}\n\n'
_CHECKED = frozenset(("messages", "tools"))  # as members of the client's body
_OWN = "anthropic-"  # headers that a target of this format gets


class MessagesSurface:
    """One endpoint; `operation` is empty for messages, and `count_tokens` to count their tokens."""

    keep_alive = PING

    def __init__(self, operation: str = "") -> None:
        self._operation = operation

    def read(
        self,
        raw: bytes,
        headers: Mapping[str, str],
        *,
        id: str,
        request_id: str,
        snapshot: Snapshot,
        principal: Principal,
        path: str = "",
        query: str = "",
    ) -> Call:
        """Read a body. Raises `InvalidRequest` that names the member."""
        document = parse(raw)
        check_unique(document.repeated)
        body, agent = document.body, None
        lost: tuple[str, ...] = ()
        if isinstance(model := body.get("model"), str) and (name := agent_name(snapshot.aliases, model)):
            from proxy.surfaces.messages.agents import with_agent  # only here: most calls name none

            raw, agent, lost = with_agent(raw, document, snapshot, name, counted=bool(self._operation))
            document = parse(raw)
            body = document.body
        options = read_options(body.get("router"), headers)
        notes = Notes()
        if not isinstance(model, str) or not model:
            raise InvalidRequest("`model` must be a name of `GET /v1/models`.", param="model")
        chat = _chat(body, notes, partial(put_back, snapshot, principal), counted=bool(self._operation))
        own = compact_nulled(chat)
        own_document, shape = parse(own, checked=_CHECKED), read_shape(own)
        call = Call(
            id=id,
            request_id=request_id,
            endpoint=COUNTING if self._operation else "chat",
            raw=own,
            body=own_document.body,
            model=model,
            stream=chat.get("stream", False),
            usage_asked=True,
            options=options,
            headers={name: value for name, value in forwarded(headers).items() if name != "accept"},
            snapshot=snapshot,
            principal=principal,
            spans=own_document.spans,
            messages=UNKNOWN if shape is None else shape.messages,
            native=opened(
                _native(raw, document, headers, query, self._operation), body, partial(unseal, snapshot, principal)
            ),
            dropped=notes.dropped,
            hosted=tuple(notes.hosted),
            forced=notes.forced,
            refused=InvalidRequest("Only Anthropic's API counts tokens.") if self._operation else notes.refused,
            count=_counted if self._operation else None,
            family=notes.family,
        )
        return note(call, agent, lost)

    def encoder(self, call: Call, record: Record, content_type: str, *, native: bool) -> Encoder | None:
        """Return what writes the answer of a call; `None` if it is in Anthropic's format already."""
        if native:
            return None
        seals = Seals(call, record)
        return MessageStream(call, record, seals) if call.stream else MessageAnswer(call, record, seals)

    def error(self, error: ProxyError) -> bytes:
        """Return the body of a response."""
        return error_body(error)

    def event(self, error: ProxyError) -> bytes:
        """Return the last event of a stream."""
        return error_event(error)


MESSAGES = MessagesSurface()
COUNT_TOKENS = MessagesSurface("count_tokens")


def _counted(tokens: int) -> bytes:
    """Return the answer of `count_tokens`."""
    return compact_nulled({"input_tokens": tokens})


def _chat(body: Mapping[str, Any], notes: Notes, restore: Restore, *, counted: bool) -> dict[str, Any]:
    """Return the chat body of a request."""
    messages = [
        *instructions(body.get("system"), notes),
        *read_messages(body.get("messages"), notes, restore),
    ]
    if not messages:  # only blocks that no other provider has
        notes.refuse("`messages` has no content that other providers understand.", "messages")
        messages = [{"role": "user", "content": ""}]
    return {
        "model": body["model"],
        "messages": messages,
        **read_tools(body, notes),
        **read_parameters(body, notes, counted=counted),
    }


def _native(raw: bytes, document: Document, headers: Mapping[str, str], query: str, operation: str) -> NativeRequest:
    """Return the client's own request, without the member `router`, which no provider knows."""
    spans = document.spans
    if "router" in spans:
        raw = edit(raw, spans, {}, ("router",))
        spans = parse(raw).spans
    own = {
        name: value
        for name, value in headers.items()
        if name.startswith(_OWN) and value.isascii() and value.isprintable()
    }
    return NativeRequest(format="messages", raw=raw, spans=spans, query=query, headers=own, operation=operation)
