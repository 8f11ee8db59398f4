"""The body of a Messages call for a target that has this API itself, where other providers gave earlier answers.

Such a target rejects what it has not made. Carriers (`proxy/surfaces/carriers.py`) become the thinking blocks that they
hold, or are left out. In manual mode (`thinking: enabled`) the last turn of an open tool loop must begin with thinking;
if another provider gave that turn, this request has no `thinking`. Source: Anthropic's documentation, "Extended
thinking". Other bodies keep their bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proxy.core.call import NativeRequest
from proxy.surfaces.carriers import PREFIX, Carried, edited, is_carrier

Block = dict[str, Any]
Unseal = Callable[[str], Carried | None]

_SEALED = {"thinking": "signature", "redacted_thinking": "data"}  # with the member that may be a carrier
_SEQUENCE = "signalbox.blocks.v1:"  # an entry that repeats the whole message (`proxy/dialects/anthropic/replay.py`)
_IDS = ("toolu_", "srvtoolu_")  # of calls of Anthropic's models
_EMPTY: Block = {"type": "text", "text": "(no content)"}
_CLEARS_THINKING = "clear_thinking"


def opened(native: NativeRequest, body: Mapping[str, Any], unseal: Unseal) -> NativeRequest:
    """Return the request with carriers opened. `body` has the members of `native.raw`, which was read without error."""
    write: dict[str, Any] = {}
    messages = body["messages"]
    if PREFIX.encode() in native.raw:
        messages = write["messages"] = [_opened_message(message, unseal) for message in messages]
    remove: tuple[str, ...] = ()
    if _lacks_thinking(messages, body.get("thinking"), sealed=bool(write)):
        remove = ("thinking",)
        edits = _other_edits(body.get("context_management"))
        if edits is not None:
            write["context_management"] = {**body["context_management"], "edits": edits}
    return edited(native, write, remove) if write or remove else native


def _opened_message(message: dict[str, Any], unseal: Unseal) -> dict[str, Any]:
    content = message.get("content")
    if message.get("role") != "assistant" or not isinstance(content, list):
        return message
    blocks = [other for block in content for other in _opened_block(block, unseal)]
    return {**message, "content": blocks or [_EMPTY]}


def _opened_block(block: Block, unseal: Unseal) -> list[Block]:
    text = block.get(_SEALED.get(block["type"], ""))
    if not is_carrier(text):
        return [block]
    carried = unseal(str(text))
    if carried is None or carried.family != "anthropic":
        return []
    entries = carried.members.get("reasoning_details")
    return [made for entry in entries if (made := _native(entry)) is not None] if isinstance(entries, list) else []


def _native(entry: Mapping[str, Any]) -> Block | None:
    """Return the block of an entry of `reasoning_details`."""
    data = entry.get("data")
    if entry.get("signature"):
        return {"type": "thinking", "thinking": entry.get("text") or "", "signature": entry["signature"]}
    if isinstance(data, str) and not data.startswith(_SEQUENCE):
        return {"type": "redacted_thinking", "data": data}
    return None


def _lacks_thinking(messages: list[dict[str, Any]], thinking: Any, *, sealed: bool) -> bool:
    """Whether manual thinking conflicts with the last turn of an open tool loop, which another provider gave."""
    if not isinstance(thinking, dict) or thinking.get("type") != "enabled" or len(messages) < 2:
        return False
    (turn, results) = (message.get("content") for message in messages[-2:])
    if not isinstance(turn, list) or not isinstance(results, list) or not turn:
        return False
    if not any(block["type"] == "tool_result" for block in results) or turn[0]["type"] in _SEALED:
        return False
    ids = [block.get("id") for block in turn if block["type"] == "tool_use"]
    return sealed or any(not str(id).startswith(_IDS) for id in ids)


def _other_edits(management: Any) -> list[Any] | None:
    """Return the edits of `context_management` that need no thinking; `None` if nothing changes."""
    edits = management.get("edits") if isinstance(management, dict) else None
    if not isinstance(edits, list):
        return None
    kept = [each for each in edits if not (isinstance(each, dict) and _clears_thinking(each))]
    return kept if len(kept) < len(edits) else None


def _clears_thinking(each: Mapping[str, Any]) -> bool:
    return str(each.get("type")).startswith(_CLEARS_THINKING)
