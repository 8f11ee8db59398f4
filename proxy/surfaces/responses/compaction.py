"""`POST /v1/responses/compact`: a model writes a summary of a conversation, which replaces it in later calls.

The conversation is given to the model as one text, so that any model can read it, whatever tools it has. The summary
goes to the client sealed (`proxy/surfaces/carriers.py`), in an item of type `compaction`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from proxy.core.call import Call
from proxy.core.errors import ProxyError, UpstreamError
from proxy.core.json_text import compact_nulled, object_of
from proxy.core.principal import Principal
from proxy.core.record import Record
from proxy.core.snapshot import Snapshot
from proxy.surfaces.base import Encoder, ReadCall
from proxy.surfaces.carriers import seal
from proxy.surfaces.openai.chat import read_chat
from proxy.surfaces.responses.document import counted, usage_of
from proxy.surfaces.responses.input_tokens import changed, part_of
from proxy.surfaces.responses.messages import SUMMARY
from proxy.surfaces.responses.parts import objects
from proxy.surfaces.responses.request import read_response
from proxy.surfaces.responses.surface import ResponsesSurface

_READ = ["model", "input", "previous_response_id", "instructions", "prompt_cache_key", "router"]
_KEPT = ("prompt_cache_key",)  # parameters of the chat
_TASK = (
    "You compact conversations between a user and an assistant. Write a summary that lets the assistant continue "
    "without the conversation: the user's goals and instructions, decisions, facts, names, numbers and code that still "
    "matter, results of tools, and what remains to be done. Copy what must stay exact. Write only the summary."
)
_OMITTED = "[omitted]"  # images and files


class CompactSurface(ResponsesSurface):
    """The endpoint."""

    @property
    def read(self) -> ReadCall:
        """The function that reads a body."""
        return read_compact

    def encoder(self, call: Call, record: Record, content_type: str, *, native: bool) -> Encoder | None:
        """Return what writes the answer."""
        return CompactEncoder(call, record)


def read_compact(
    raw: bytes,
    headers: Mapping[str, str],
    *,
    id: str,
    request_id: str,
    snapshot: Snapshot,
    principal: Principal,
    path: str,
    query: str,
) -> Call:
    """Read and check a body. Raises `InvalidRequest` that names the parameter."""
    arrival: dict[str, Any] = {"id": id, "request_id": request_id, "snapshot": snapshot, "principal": principal}
    arrival |= {"path": path, "query": query}
    call = read_response(part_of(raw, _READ), headers, **arrival)
    return changed(call, partial(_summarizing, headers, arrival))


def _summarizing(headers: Mapping[str, str], arrival: Mapping[str, Any], call: Call) -> Call:
    """Return the call that asks for a summary of the conversation of `call`."""
    conversation = "\n\n".join(_words(message) for message in objects(call.body.get("messages")))
    turn = call.turn
    assert turn is not None
    chat: dict[str, Any] = {
        "model": call.model,
        "messages": [{"role": "system", "content": _TASK}, {"role": "user", "content": conversation}],
        **{name: call.body[name] for name in _KEPT if name in call.body},
    }
    options = turn.context.document.get("router")
    if options is not None:
        chat["router"] = options
    summarizing = read_chat(compact_nulled(chat), headers, **arrival)
    summarizing.turn, summarizing.dropped = turn, call.dropped
    return summarizing


def _words(message: Mapping[str, Any]) -> str:
    """Return a message as text."""
    content = message.get("content")
    parts = [content] if isinstance(content, str) else [part.get("text", _OMITTED) for part in objects(content)]
    for call in objects(message.get("tool_calls")):
        function = call.get("function", {})
        parts.append(f"[call of {function.get('name')}] {function.get('arguments')}")
    return f"{str(message.get('role')).capitalize()}: " + "\n".join(str(part) for part in parts)


class CompactEncoder:
    """Writes the compaction."""

    def __init__(self, call: Call, record: Record) -> None:
        self._call = call
        self._record = record
        self._body = b""

    def feed(self, data: bytes) -> bytes:
        """Keep the bytes of a chat completion."""
        self._body += data
        return b""

    def finish(self) -> bytes:
        """Return the compaction. Raises `UpstreamError` if the answer has no text."""
        completion = object_of(self._body) or {}
        choices = objects(completion.get("choices"))
        message = choices[0].get("message") if choices else None
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list):
            content = "".join(str(part.get("text") or "") for part in objects(content))
        if not isinstance(content, str) or not content.strip():
            raise UpstreamError("The model wrote no summary.")
        stem = self._call.id.removeprefix("req_")
        sealed = seal(self._call, "openai", {SUMMARY: content})
        usage, used = completion.get("usage"), self._record.usage
        return compact_nulled(
            {
                "id": f"resp_{stem}",
                "object": "response.compaction",
                "created_at": self._record.time // 1_000_000,
                "output": [{"id": f"cmp_{stem}", "type": "compaction", "encrypted_content": sealed}],
                "usage": counted(used) if used and not usage else usage_of(usage if isinstance(usage, dict) else {}),
            }
        )

    def fail(self, error: ProxyError) -> bytes:
        """Return nothing: what is not whole must not look like it."""
        return b""


COMPACT = CompactSurface()
