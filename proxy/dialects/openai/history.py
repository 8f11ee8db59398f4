"""Removes members of a chat's messages that a target of the OpenAI dialect does not accept.

Two kinds are removed: members of assistant messages that Signalbox itself put into an earlier answer of a translated
provider, and those that the model's `unsupported` names as `messages.<member>`. `messages.developer` names no member:
the role `developer` becomes `system`. Other messages keep their bytes, and a call without such members is not read
again. OpenRouter and Google's compatible API have the same members and need them back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from proxy.core.body import parse
from proxy.core.json_text import compact
from proxy.core.spans import edit
from proxy.dialects.anthropic.replay import FORMAT, PREFIX

_MEMBER = "messages."
_NO_MEMBERS = {"developer", "prefill"}
_OURS = frozenset({"reasoning_details", "extra_content", "google_parts", "images", "tool_calls"})
_ACCEPTED = (  # by host: members of this kind that are the provider's own
    ("openrouter.ai", {"reasoning_details", "images"}),
    ("googleapis.com", {"extra_content"}),
)
_DETAILS = (["index", "type", "text", "signature", "format"], ["index", "type", "data", "format"])
_DECODER = json.JSONDecoder()
_SPACE = " \t\r\n"

Members = dict[str, bytes | None]  # new values by name; `None`: the member is removed


def members_of(unsupported: Collection[str]) -> tuple[str, ...]:
    """Return the members of messages that a model does not accept."""
    return tuple(name.removeprefix(_MEMBER) for name in unsupported if name.startswith(_MEMBER))


def edited_messages(
    raw: bytes | memoryview, messages: Any, refused: Collection[str], base_url: str
) -> tuple[bytes, list[str]] | None:
    """Return the messages' bytes without what the target does not accept, and the names of what was removed.

    Returns `None` if all stays. `raw` is the JSON text of `messages`; `refused` are those of `members_of`.
    """
    if not isinstance(messages, list) or not _concerned(messages, refused):
        return None
    accepted: set[str] = set()
    for host, names in _ACCEPTED:
        accepted |= names if host in base_url else set()
    dropped: list[str] = []

    def of_message(message: dict[str, Any], text: bytes) -> Members:
        return _members(message, text, refused, accepted, dropped)

    out = _edited_items(bytes(raw), of_message)
    return (out, dropped) if dropped else None


def _concerned(messages: list[Any], refused: Collection[str]) -> bool:
    """Return whether any message may have to be edited."""
    for message in messages:
        if not isinstance(message, dict):
            continue
        if len(message) > 2 and message.get("role") == "assistant" and not _OURS.isdisjoint(message):
            return True
        if refused and (message.get("role") in refused or not message.keys().isdisjoint(refused)):
            return True
    return False


def _members(
    message: dict[str, Any], text: bytes, refused: Collection[str], accepted: Collection[str], dropped: list[str]
) -> Members:
    """Return what changes in one message, and add the names of what is removed to `dropped`."""
    changes: Members = {}
    if message.get("role") == "assistant":
        changes = {
            name: None for name, is_ours in _READERS.items() if name not in accepted and is_ours(message.get(name))
        }
        calls = message.get("tool_calls")
        if "extra_content" not in accepted and isinstance(calls, list) and any(map(_is_extra, calls)):
            span = parse(text).spans["tool_calls"]
            changes["tool_calls"] = _edited_items(text[span.value : span.end], _without_extra)
    changes |= {name: None for name in refused if name in message and name not in _NO_MEMBERS}
    if message.get("role") == "developer" and "developer" in refused:
        changes["role"] = b'"system"'
    for name in changes:
        _name({"role": "developer", "tool_calls": "extra_content"}.get(name, name), dropped)
    return changes


def _name(member: str, dropped: list[str]) -> None:
    if _MEMBER + member not in dropped:
        dropped.append(_MEMBER + member)


def _without_extra(call: dict[str, Any], text: bytes) -> Members:
    return {"extra_content": None} if _is_extra(call) else {}


def _is_extra(call: Any) -> bool:
    return isinstance(call, dict) and _our_extra(call.get("extra_content"))


def _our_extra(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"google"}


def _our_details(value: Any) -> bool:
    """Return whether these are signed blocks as Signalbox writes them; others have the members in another order."""
    return _objects(value) and all(_our_detail(item) for item in value)


def _our_detail(entry: Mapping[str, Any]) -> bool:
    names = list(entry)
    ordered = names in _DETAILS or names in [sorted(known) for known in _DETAILS]
    return str(entry.get("data")).startswith(PREFIX) or (ordered and entry.get("format") == FORMAT)


def _our_images(value: Any) -> bool:
    return _objects(value) and all(item.get("type") == "image_url" for item in value)


def _objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


_READERS: Mapping[str, Callable[[Any], bool]] = {
    "reasoning_details": _our_details,
    "extra_content": _our_extra,
    "google_parts": _objects,
    "images": _our_images,
}


def _edited_items(raw: bytes, changes_of: Callable[[dict[str, Any], bytes], Members]) -> bytes:
    """Return the JSON array `raw` with its objects edited; unedited ones keep their bytes."""
    text = raw.decode()
    out, done = [], 0
    for value, start, end in _items(text):
        piece = text[start:end].encode()
        changes = changes_of(value, piece) if isinstance(value, dict) else {}
        if changes:
            out += [text[done:start].encode(), _edited(value, piece, changes)]
            done = end
    out.append(text[done:].encode())
    return b"".join(out)


def _edited(value: dict[str, Any], raw: bytes, changes: Members) -> bytes:
    document = parse(raw)
    if document.repeated & changes.keys() or len(changes) == len(document.spans):
        left = {name: other for name, other in value.items() if changes.get(name, b"") is not None}
        return compact(left | {name: json.loads(new) for name, new in changes.items() if new is not None})
    written = {name: new for name, new in changes.items() if new is not None}
    return edit(raw, document.spans, written, [name for name in changes if name not in written])


def _items(text: str) -> Iterator[tuple[Any, int, int]]:
    """Yield the items of a JSON array with their start and end; `text` is valid."""
    at = text.index("[") + 1
    while True:
        while text[at] in _SPACE or text[at] == ",":
            at += 1
        if text[at] == "]":
            return
        value, end = _DECODER.raw_decode(text, at)
        yield value, at, end
        at = end
