"""Assistant messages of a history, which any upstream may have written.

A conversation that began with another provider has that provider's members and parts in it: reasoning in five forms,
references, audio ids. They mean nothing to the next target, and a client cannot be expected to take them out. They are
left out here and named, so that only text, what the target reads itself, and calls remain.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.core.json_text import strict_object_of
from proxy.dialects.memory import ToolCall

FOREIGN = (
    "reasoning_details",
    "reasoning_content",
    "reasoning",
    "thinking_blocks",
    "extra_content",
    "google_parts",
    "images",
    "audio",
)
Recalled = Callable[[int, list[ToolCall]], Any]  # a message's place and its calls -> what was kept of the answer
_TEXTS = ("text", "output_text", "input_text", "refusal")
_MAX_NAMED = 8  # kinds of parts that are named; the header must not grow without end
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(slots=True)
class Dropped:
    """The names of what a history has and the target does not get; each once."""

    names: dict[str, None] = field(default_factory=dict)

    def member(self, name: str) -> None:
        """A member of a message."""
        self.names[f"messages.{name}"] = None

    def part(self, kind: Any) -> None:
        """A kind of content part."""
        if len(self.names) < len(FOREIGN) + _MAX_NAMED:
            self.member(f"content.{_NOT_IN_NAMES.sub('', str(kind))[:40]}")

    def members(self, message: Mapping[str, Any], read: Collection[str]) -> None:
        """The members of an assistant message that only other providers read; `read` are those that the target has."""
        for name in FOREIGN:
            if message.get(name) and name not in read:
                self.member(name)


def plain_text(message: Mapping[str, Any]) -> str | None:
    """The text of a message that is nothing but text; None if there is more in it."""
    content = message.get("content")
    return content if len(message) == 2 and isinstance(content, str) else None


def parts_of(message: Mapping[str, Any], dropped: Dropped, media: Collection[str] = ()) -> list[dict[str, Any]]:
    """Text parts, each with the members that it had, and parts of the kinds in `media` as they are."""
    content = message.get("content")
    found = []
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            found.append({"type": "text", "text": part})
        elif isinstance(part, dict):
            kind = part.get("type")
            text = part.get("refusal" if kind == "refusal" else "text") if kind in _TEXTS else None
            if isinstance(text, str):
                found.append({**part, "type": "text", "text": text})
            elif kind in media:
                found.append(part)
            elif kind not in _TEXTS:
                dropped.part(kind)
    refusal = message.get("refusal")
    if isinstance(refusal, str) and not any(part.get("text") for part in found):
        found.append({"type": "text", "text": refusal})
    return found


def calls_of(message: Mapping[str, Any], where: str) -> list[ToolCall]:
    """The calls of a message, that of the legacy `function_call` too. Raises `InvalidRequest` if one has no name."""
    given = message.get("tool_calls") or []
    if not isinstance(given, list):
        raise InvalidRequest(f"`{where}.tool_calls` must be a list of calls.", param=f"{where}.tool_calls")
    calls = [_call(call, f"{where}.tool_calls[{place}]") for place, call in enumerate(given)]
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
    """The arguments as an object; what is none (a call that was cut, a custom tool's text) is kept as a text in one."""
    given = call.arguments
    if isinstance(given, dict):
        return given
    if not isinstance(given, str):
        return {} if given is None else {"arguments": given}
    if not given.strip():
        return {}
    value = strict_object_of(given)
    return {"arguments": given} if value is None else value


def recalled_by_client(recalled: Recalled, messages: Sequence[Mapping[str, Any]]) -> Recalled:
    """`recalled` for messages of which names have been replaced: asked with the calls as the client has them."""
    return lambda place, calls: recalled(place, calls_of(messages[place], f"messages[{place}]"))
