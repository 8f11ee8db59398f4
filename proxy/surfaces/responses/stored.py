"""Items of a Responses input as they are stored, and as they are sent to a provider again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from proxy.core.turn import Item

_PREFIXES = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "tool_search_call": "tsc",
    "tool_search_output": "tso",
    "compaction": "cmp",
}
COMPACTIONS = ("compaction", "context_compaction", "compaction_summary")
_OTHER = "item"
_DIGITS = 48
_SANE_ID = re.compile(r"[\x21-\x7e]{1,256}")


def named_items(items: Iterable[Any], call_id: str) -> list[Item]:
    """Return the items with their types and ids; new ids are derived from the call's id, which is unique.

    The content of a message becomes a list of parts.
    """
    return [_named(item, f"{call_id}/{place}") for place, item in enumerate(items) if isinstance(item, dict)]


def sendable(items: Iterable[Any]) -> list[Any]:
    """Return the items as a provider accepts them that has not stored them: it must not look anything up.

    They have no ids, and reasoning without its encrypted content is left out. Calls of hosted tools keep their ids,
    which their provider has made.
    """
    return [_sendable(item) for item in items if not _is_bare_reasoning(item)]


def is_id(value: Any) -> bool:
    """Return whether a value can be the id of a response or an item."""
    return isinstance(value, str) and _SANE_ID.fullmatch(value) is not None


def continued(earlier: Sequence[Item], own: Sequence[Any], opens: Callable[[Item], bool]) -> Sequence[Item]:
    """Return the items of a dialog that a call continues: those from its last summary on, without broken calls.

    `own` are the items of the call. `opens` returns whether the target can read a summary, an item of type
    `compaction`; it stands for everything before it.
    """
    if any(_is_summary(item) and opens(item) for item in own):
        return ()
    return unbroken(since_summary(earlier, opens), own)


def since_summary(items: Sequence[Item], opens: Callable[[Item], bool]) -> Sequence[Item]:
    """Return the items from the last summary on that `opens`; all of them if there is none."""
    begin = next((at for at in reversed(range(len(items))) if _is_summary(items[at]) and opens(items[at])), 0)
    return items[begin:]


def unbroken(earlier: Sequence[Item], own: Sequence[Any]) -> Sequence[Item]:
    """Return the items of a dialog without the calls of tools that broke off, because their answer was incomplete.

    No client runs such a call, and providers accept none without an output. One that has an output is kept.
    """
    broken = {item["call_id"] for item in earlier if _names_call(item, "_call") and item.get("status") == "incomplete"}
    if broken:
        broken -= {item["call_id"] for item in (*earlier, *own) if _names_call(item, "_output")}
    if not broken:
        return earlier
    return [item for item in earlier if not (_names_call(item, "_call") and item["call_id"] in broken)]


def _names_call(item: Any, kind: str) -> bool:
    """Return whether an item of a kind names a call by its id."""
    return isinstance(item, dict) and isinstance(item.get("call_id"), str) and str(item.get("type")).endswith(kind)


def _is_summary(item: Any) -> bool:
    return isinstance(item, dict) and item.get("type") in COMPACTIONS


def _sendable(item: Any) -> Any:
    if not isinstance(item, dict) or item.get("type", "message") not in _PREFIXES:
        return item
    return {name: value for name, value in item.items() if name != "id"}


def _is_bare_reasoning(item: Any) -> bool:
    return isinstance(item, dict) and item.get("type") == "reasoning" and not item.get("encrypted_content")


def _named(item: Item, seed: str) -> Item:
    kind = item.get("type", "message")
    id = item.get("id")
    if not is_id(id):
        digest = hashlib.sha256(seed.encode()).hexdigest()[:_DIGITS]
        id = f"{_PREFIXES.get(str(kind), _OTHER)}_{digest}"
    named = {**item, "type": kind, "id": id}
    if kind == "message":
        named.setdefault("status", "completed")
        if isinstance(item.get("content"), str):
            named["content"] = _parts(item)
    return named


def _parts(message: Item) -> list[dict[str, Any]]:
    if message.get("role") == "assistant":
        return [{"type": "output_text", "text": message["content"], "annotations": [], "logprobs": []}]
    return [{"type": "input_text", "text": message["content"]}]
