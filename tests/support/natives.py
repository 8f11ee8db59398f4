"""An upstream that speaks every dialect, and answers as Anthropic, Gemini and OpenAI would write them.

It is the upstream of `tests/support/upstreams.py`; the model is read from where each API has it: the body, the path
(Gemini) or a form. A `WireFormat` writes the same text in the bytes of one API, so that one fault can be tried on all.
"""

from __future__ import annotations

import email
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from random import Random
from typing import Any
from urllib.parse import unquote

from tests.support import upstreams
from tests.support.exchanges import pieces
from tests.support.upstreams import EVENT_STREAM, JSON, Request, Script, Upstream, Wire, event, plain

_IN_PATH = re.compile(r"/models/([^/:?]+):(\w+)")
PIXEL = "R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="  # a GIF


class NativeRequest(Request):
    """One request that arrived, whatever API it is of."""

    def __init__(self, path: str, headers: Mapping[str, str], body: bytes, arrived: float) -> None:
        form = form_of(body, headers.get("content-type", ""))
        given = None if form is None else {part.name: part.text for part in form if part.filename is None}
        named = json.dumps({"model": "", **given}).encode() if given is not None else _with_model(path, body)
        super().__init__(path, headers, named, arrived)
        self.body = body
        self.json = given if given is not None else json.loads(body)
        self.form = form or []
        self.stream = bool(self.json.get("stream")) or ":stream" in path


@dataclass(frozen=True)
class Part:
    """One part of a form."""

    name: str
    text: str
    content: bytes
    filename: str | None
    content_type: str


def form_of(body: bytes, content_type: str) -> list[Part] | None:
    """The parts of a form, read by the standard library; None if it is none."""
    if not content_type.startswith("multipart/form-data"):
        return None
    whole: Message = email.message_from_bytes(b"content-type: " + content_type.encode() + b"\r\n\r\n" + body)
    found = []
    for part in whole.get_payload():
        assert isinstance(part, Message)
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        name = str(part.get_param("name", "", "content-disposition"))
        found.append(
            Part(name, content.decode("utf-8", "replace"), content, part.get_filename(), part.get_content_type())
        )
    return found


def _with_model(path: str, body: bytes) -> bytes:
    match = _IN_PATH.search(path)
    return json.dumps({**json.loads(body), "model": unquote(match[1])}).encode() if match else body


class NativeUpstream(Upstream):
    """The upstream; its `url` is without a path, since each API has its own."""

    @property
    def natives(self) -> list[NativeRequest]:
        """The requests, with what only these have."""
        return [request for request in self.requests if isinstance(request, NativeRequest)]

    async def start(self) -> None:
        await super().start()
        self.url = self.url.removesuffix("/v1")

    def _request(self, path: str, headers: Mapping[str, str], body: bytes, arrived: float) -> Request:
        return NativeRequest(path, headers, body, arrived)

    async def _right(self, wire: Wire) -> None:
        await good(wire)


# Wire formats


@dataclass(frozen=True)
class WireFormat:
    """How one API writes answers: the bytes of a stream's parts, and of whole answers."""

    name: str
    opening: list[bytes]
    closing: list[bytes]
    errors: dict[str, bytes]  # events, by what happened
    end: str = "\n\n"

    def words(self, prefix: str, count: int = 3) -> list[bytes]:
        """One event a word, `prefix0 ` and so on."""
        return [self.text(f"{prefix}{number} ") for number in range(count)]

    def text(self, text: str) -> bytes:
        """An event with a piece of text."""
        if self.name == "anthropic":
            return named("content_block_delta", index=0, delta={"type": "text_delta", "text": text})
        if self.name == "gemini":
            return google(gemini_chunk({"text": text}))
        if self.name == "responses":
            return named("response.output_text.delta", item_id="msg_1", output_index=0, content_index=0, delta=text)
        return upstreams.chunk({"content": text})

    def body(self, text: str) -> bytes:
        """A whole answer that is not streamed."""
        if self.name == "anthropic":
            value = anthropic_message({"type": "text", "text": text})
        elif self.name == "gemini":
            value = gemini_chunk({"text": text}, finish="STOP")
        elif self.name == "responses":
            value = response(text)
        else:
            value = upstreams.completion(text)
        return json.dumps(value).encode()

    def refusal(self, status: int, message: str) -> bytes:
        """The body of an error with a status."""
        if self.name == "anthropic":
            value: dict[str, Any] = {"type": "error", "error": {"type": ANTHROPIC_ERRORS[status], "message": message}}
        elif self.name == "gemini":
            value = {"error": {"code": status, "message": message, "status": GOOGLE_ERRORS[status]}}
        else:
            value = upstreams.error(message)
        return json.dumps(value).encode()


def named(kind: str, **members: Any) -> bytes:
    """One event as Anthropic writes it."""
    return f"event: {kind}\n".encode() + event({"type": kind, **members})


def google(value: object) -> bytes:
    """One event as Google writes it."""
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\r\n\r\n"


def anthropic_message(*content: dict[str, Any], reason: str = "end_turn", **usage: int) -> dict[str, Any]:
    """A message that is not streamed."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "upstream",
        "content": list(content),
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 3, **usage},
    }


def anthropic_stream(*content: dict[str, Any], reason: str = "end_turn", **usage: int) -> list[bytes]:
    """The events of a message; texts and arguments come in small pieces."""
    whole = anthropic_message(*content, reason=reason, **usage)
    begun = {**whole, "content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 1}}
    events = [named("message_start", message=begun), named("ping")]
    for index, block in enumerate(content):
        start, deltas = _pieces_of(block)
        events.append(named("content_block_start", index=index, content_block=start))
        events += [named("content_block_delta", index=index, delta=delta) for delta in deltas]
        events.append(named("content_block_stop", index=index))
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [*events, named("message_delta", delta=delta, usage=whole["usage"]), named("message_stop")]


def _pieces_of(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if block["type"] == "text":
        return {**block, "text": ""}, [{"type": "text_delta", "text": each} for each in _parts(block["text"])]
    if block["type"] == "tool_use":
        deltas = [{"type": "input_json_delta", "partial_json": each} for each in _parts(json.dumps(block["input"]))]
        return {**block, "input": {}}, deltas
    if block["type"] == "thinking":
        deltas = [{"type": "thinking_delta", "thinking": each} for each in _parts(block["thinking"])]
        signed = {"type": "signature_delta", "signature": block["signature"]}
        return {**block, "thinking": "", "signature": ""}, [*deltas, signed]
    return block, []


def _parts(text: str) -> list[str]:
    return [text[at : at + 7] for at in range(0, len(text), 7)]


def response(text: str | None = None, **members: Any) -> dict[str, Any]:
    """A response object, with a message of `text`."""
    part: dict[str, Any] = {"type": "output_text", "text": text, "annotations": []}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
    usage = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1700000000,
        "status": "completed",
        "model": "upstream",
        "output": [] if text is None else [message],
        "usage": usage,
        **members,
    }


def gemini_chunk(*parts: dict[str, Any], finish: str | None = None, id: str = "r1", **usage: int) -> dict[str, Any]:
    """One answer object with one candidate; with its finish come the counts."""
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    counts = {"promptTokenCount": 7, "candidatesTokenCount": 3, **usage} if finish else {"promptTokenCount": 7}
    counts["totalTokenCount"] = sum(counts.values())
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "usageMetadata": counts, "modelVersion": "upstream", "responseId": id}


def gemini_stream(*parts: dict[str, Any], finish: str = "STOP", id: str = "r1", **usage: int) -> list[bytes]:
    """The events of an answer, one for each part, the last with its finish."""
    *first, last = parts
    events = [google(gemini_chunk(part, id=id)) for part in first]
    return [*events, google(gemini_chunk(last, finish=finish, id=id, **usage))]


ANTHROPIC_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
    529: "overloaded_error",
}
GOOGLE_ERRORS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    529: "UNAVAILABLE",
}
_START = anthropic_stream({"type": "text", "text": ""})
ANTHROPIC = WireFormat(
    "anthropic",
    opening=_START[:3],
    closing=_START[3:],
    errors={
        "error": named("error", error={"type": "api_error", "message": "injected in the stream"}),
        "overloaded": named("error", error={"type": "overloaded_error", "message": "Overloaded"}),
        "rate limit": named("error", error={"type": "rate_limit_error", "message": "Slow down"}),
    },
)
GEMINI = WireFormat(
    "gemini",
    opening=[google(gemini_chunk({"text": ""}))],
    closing=[google(gemini_chunk({"text": ""}, finish="STOP"))],
    errors={
        "error": google({"error": {"code": 500, "message": "injected in the stream", "status": "INTERNAL"}}),
        "overloaded": google({"error": {"code": 503, "message": "Overloaded", "status": "UNAVAILABLE"}}),
        "rate limit": google({"error": {"code": 429, "message": "Slow down", "status": "RESOURCE_EXHAUSTED"}}),
    },
    end="\r\n\r\n",
)
OPENAI = WireFormat(
    "openai",
    opening=[upstreams.ROLE],
    closing=[upstreams.FINISH, upstreams.DONE],
    errors={
        "error": event(upstreams.error("injected in the stream")),
        "overloaded": event(upstreams.error("Overloaded", kind="overloaded_error")),
        "rate limit": event(upstreams.error("Slow down", kind="rate_limit_error", code="rate_limit_exceeded")),
    },
)
_ITEM = {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []}
RESPONSES = WireFormat(
    "responses",
    opening=[
        named("response.created", response=response(status="in_progress", usage=None)),
        named("response.output_item.added", output_index=0, item=_ITEM),
    ],
    closing=[
        named("response.output_item.done", output_index=0, item={**_ITEM, "status": "completed"}),
        named("response.completed", response=response("all")),
    ],
    errors={
        "error": named("error", code="server_error", message="injected in the stream", param=None),
        "overloaded": named("error", error={"type": "overloaded_error", "message": "Overloaded"}),
        "rate limit": named("error", code="rate_limit_exceeded", message="Slow down", param=None),
    },
)
WIRE_FORMATS = {wire_format.name: wire_format for wire_format in (ANTHROPIC, GEMINI, OPENAI, RESPONSES)}


def wire_format_of(request: Request) -> WireFormat:
    """The format of the API that a request was sent to."""
    if request.path.startswith("/v1/messages"):
        return ANTHROPIC
    if request.path.startswith("/v1/responses"):
        return RESPONSES
    return GEMINI if _IN_PATH.search(request.path) else OPENAI


async def good(wire: Wire) -> None:
    """The right answer in the request's own API; its words begin with the model's name."""
    wire_format, model = wire_format_of(wire.request), wire.request.model
    if wire.request.stream:
        await upstreams.stream([*wire_format.opening, *wire_format.words(model), *wire_format.closing])(wire)
    else:
        await plain(wire_format.body(upstreams.text_of(model)))(wire)


def replayed(data: bytes, *, stream: bool, how: str, rng: Random, status: int = 200) -> Script:
    """A recorded or written answer, cut in a way of `tests.support.exchanges.CUTS`."""

    async def script(wire: Wire) -> None:
        kind = EVENT_STREAM if stream else JSON
        await wire.head(status, kind, length=None if stream else len(data))
        for piece in pieces(data, how, rng):
            await wire.send(piece)
        await wire.end()

    return script
