"""Reader for assistant messages of a history, which any provider may have written.

A conversation that began with another provider contains that provider's members and parts: reasoning in five formats,
references, audio ids. The target cannot use them, and clients do not remove them. They are dropped and listed here;
text, members that the target reads, and tool calls remain.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.core.json_text import strict_object_of
from proxy.dialects.memory import ToolCall

_EXTRA = "extra_content"  # Google's member of messages and calls
FOREIGN = (
    "reasoning_details",
    "reasoning_content",
    "reasoning",
    "thinking_blocks",
    _EXTRA,
    "google_parts",
    "images",
    "audio",
)
Recalled = Callable[[int, list[ToolCall]], Any]  # a message's index and its calls -> the stored value of that answer
_TEXTS = ("text", "output_text", "input_text", "refusal")
_MAX_NAMED = 8  # kinds of parts that are listed, to bound the header
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(slots=True)
class Dropped:
    """The names of members and parts that are not sent to the target, without repeats."""

    names: dict[str, None] = field(default_factory=dict)

    def member(self, name: str) -> None:
        """Add a member of a message."""
        self.names[f"messages.{name}"] = None

    def part(self, kind: Any) -> None:
        """Add a kind of content part."""
        if len(self.names) < len(FOREIGN) + _MAX_NAMED:
            self.member(f"content.{_NOT_IN_NAMES.sub('', str(kind))[:40]}")

    def members(self, message: Mapping[str, Any], read: Collection[str]) -> None:
        """Add the members of an assistant message that only other providers use; `read` are those of the target."""
        for name in FOREIGN:
            if message.get(name) and name not in read:
                self.member(name)
        calls = message.get("tool_calls")
        if _EXTRA not in read and isinstance(calls, list) and any(map(_has_extra, calls)):
            self.member(_EXTRA)  # the signature of a call


def _has_extra(call: Any) -> bool:
    return isinstance(call, dict) and bool(call.get(_EXTRA))


def plain_text(message: Mapping[str, Any]) -> str | None:
    """Return the text of a message without other parts; None if it has any."""
    content = message.get("content")
    return content if len(message) == 2 and isinstance(content, str) else None


def parts_of(message: Mapping[str, Any], dropped: Dropped, media: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return text parts with their members, and parts of the kinds in `media`, unchanged."""
    content = message.get("content")
    parts = []
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            parts.append({"type": "text", "text": part})
        elif isinstance(part, dict):
            kind = part.get("type")
            text = part.get("refusal" if kind == "refusal" else "text") if kind in _TEXTS else None
            if isinstance(text, str):
                parts.append({**part, "type": "text", "text": text})
            elif kind in media:
                parts.append(part)
            elif kind not in _TEXTS:
                dropped.part(kind)
    refusal = message.get("refusal")
    if isinstance(refusal, str) and not any(part.get("text") for part in parts):
        parts.append({"type": "text", "text": refusal})
    return parts


def calls_of(message: Mapping[str, Any], where: str) -> list[ToolCall]:
    """Return the calls of a message, including a `function_call`. Raises `InvalidRequest` if one has no name."""
    listed = message.get("tool_calls") or []
    if not isinstance(listed, list):
        raise InvalidRequest(f"`{where}.tool_calls` must be a list of calls.", param=f"{where}.tool_calls")
    calls = [_call(call, f"{where}.tool_calls[{place}]") for place, call in enumerate(listed)]
    if not calls and message.get("function_call"):
        calls = [_call({"function": message["function_call"]}, f"{where}.function_call")]
    return calls


def _call(call: Any, where: str) -> ToolCall:
    call = call if isinstance(call, dict) else {}
    function = call.get("function") or call.get("custom")
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str) or not name:
        raise InvalidRequest(f"`{where}` must name the function that was called.", param=where)
    id = call.get("id")
    return ToolCall(id if isinstance(id, str) and id else None, name, function.get("arguments", function.get("input")))


def arguments_of(call: ToolCall) -> dict[str, Any]:
    """Return the arguments as an object; other values (a truncated call, a custom tool's text) become a text in one."""
    arguments = call.arguments
    if isinstance(arguments, dict):
        return arguments
    if not isinstance(arguments, str):
        return {} if arguments is None else {"arguments": arguments}
    if not arguments.strip():
        return {}
    value = strict_object_of(arguments)
    return {"arguments": arguments} if value is None else value


def recalled_by_client(recalled: Recalled, messages: Sequence[Mapping[str, Any]]) -> Recalled:
    """Return `recalled` for messages with replaced names; it gets the calls with the client's names."""
    return lambda place, calls: recalled(place, calls_of(messages[place], f"messages[{place}]"))
