"""What an Anthropic answer has in other words than a chat: the stop reason, the usage, the ids.

Source: Anthropic's API reference, "Messages" (`stop_reason`, `usage`) and "Prompt caching" (`input_tokens` excludes
what was read from the cache or written to it).
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from proxy.core.call import Call
from proxy.core.record import Record
from proxy.core.usage import count
from proxy.surfaces.messages.tools import LONGEST_NAME, client_names

_STOP = {"length": "max_tokens", "content_filter": "refusal"}
_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")


def message_head(call: Call, record: Record, model: Any) -> dict[str, Any]:
    """Return the first members of a message, with the model that the upstream names."""
    chosen = record.chosen.model if record.chosen is not None else call.model
    return {
        "id": f"msg_{call.id.removeprefix('req_')}",
        "type": "message",
        "role": "assistant",
        "model": model if isinstance(model, str) and model else chosen,
    }


def stop_reason(finish: Any, *, calls: bool, refused: bool) -> str:
    """Return `stop_reason` for a `finish_reason`; `calls`: the answer has calls, `refused`: it has a refusal."""
    if finish in _STOP:
        return _STOP[finish]
    if refused:
        return "refusal"
    return "tool_use" if calls else "end_turn"


def usage_of(usage: Any, record: Record) -> dict[str, int]:
    """Return `usage` for that of a chat; without one, what the record has, which may be estimated."""
    if not isinstance(usage, dict):
        known = record.attempts[-1].usage if record.attempts else None
        if known is None:
            return _usage(0, 0, 0, 0)
        return _usage(known.input, known.cached, known.cache_write, known.output)
    details = usage.get("prompt_tokens_details")
    details = details if isinstance(details, dict) else {}
    names = ("cached_tokens", "cache_write_tokens")
    cached, written = (max(0, count(details.get(name)) or 0) for name in names)
    whole, output = (max(0, count(usage.get(name)) or 0) for name in ("prompt_tokens", "completion_tokens"))
    return _usage(whole, cached, written, output)


def estimated_usage(call: Call, record: Record) -> dict[str, int]:
    """Return the usage at the start of an answer, when only an estimate of the input is known."""
    known = record.plan.known_input_tokens if record.plan is not None else None
    return _usage(len(call.raw) // 4 if known is None else known, 0, 0, 0)


def _usage(whole: int, cached: int, written: int, output: int) -> dict[str, int]:
    return {
        "input_tokens": max(0, whole - cached - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "output_tokens": output,
    }


def tool_id(id: str) -> str:
    """Return the id of a tool call in Anthropic's alphabet."""
    return _NOT_IN_IDS.sub("_", id)


def search_seed(call: Call) -> str:
    """Return the part of the ids of an answer's web searches that no other answer has."""
    return _NOT_IN_IDS.sub("", call.id.removeprefix("req_")).replace("-", "")


class CallNames:
    """The ids and names of the tool calls of one answer, as the client has them."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._ids: set[str] = set()
        self._names: dict[str, str] | None = None

    def id(self, id: Any) -> str:
        """Return the id of the next call: the upstream's, in Anthropic's alphabet, if no other call has it."""
        text = tool_id(id) if isinstance(id, str) else ""
        if not text or text in self._ids:
            seed = f"{self._call.id}/{len(self._ids)}".encode()
            text = f"toolu_{hashlib.sha256(seed).hexdigest()[:24]}"
        self._ids.add(text)
        return text

    def name(self, name: str) -> str:
        """Return the client's name of a tool."""
        if len(name) != LONGEST_NAME:
            return name
        if self._names is None:
            self._names = self._shortened()
        return self._names.get(name, name)

    def _shortened(self) -> dict[str, str]:
        native = self._call.native
        if native is None or "tools" not in native.spans:
            return {}
        span = native.spans["tools"]
        return client_names(native.raw[span.value : span.end])
