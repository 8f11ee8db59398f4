"""The messages of a call for an Anthropic target, where other providers gave earlier answers.

Anthropic rejects signatures that it has not made. A thinking block with a carrier (`proxy/surfaces/carriers.py`) is
replaced by the blocks in it, if these are Anthropic's own, and else left out. Anthropic also requires that the answer
to which results of tools belong begins with its thinking; if it cannot, thinking is switched off for this call. Every
other body keeps its bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proxy.core.call import NativeRequest
from proxy.surfaces.carriers import PREFIX, Carried, edited, is_carrier

Unseal = Callable[[str], Carried | None]
_HOLDERS = {"thinking": "signature", "redacted_thinking": "data"}
_OWN_IDS = ("toolu_", "srvtoolu_")  # how Anthropic's ids of calls begin
_CLEARS_THINKING = "clear_thinking"  # type of an edit of `context_management`, which needs thinking


def opened(native: NativeRequest, body: Mapping[str, Any], unseal: Unseal) -> NativeRequest:
    """Return the request without carriers, and without thinking where the conversation does not allow it."""
    write: dict[str, Any] = {}
    messages = body["messages"]
    if PREFIX.encode() in native.raw:
        messages = [other for message in messages for other in _opened_message(message, unseal)]
        if messages != body["messages"]:
            write["messages"] = messages
    dropped = ["messages.content.thinking"] if write else []
    remove = []
    if "thinking" in native.spans and _is_manual(body["thinking"]) and _in_foreign_loop(messages):
        remove, dropped = ["thinking"], [*dropped, "thinking"]
        if not _keeps_context(body, write):
            remove.append("context_management")
    if not dropped:
        return native
    return edited(native, write, remove, dropped=tuple(dropped))


def _opened_message(message: Any, unseal: Unseal) -> list[Any]:
    """Return the message without carriers; nothing if it has no other content."""
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list):
        return [message]
    blocks = [other for block in content for other in _opened_block(block, unseal)]
    return [{**message, "content": blocks}] if blocks or not content else []


def _opened_block(block: Any, unseal: Unseal) -> list[Any]:
    holder = _HOLDERS.get(str(block.get("type"))) if isinstance(block, dict) else None
    sealed = block.get(holder) if holder is not None else None
    if not is_carrier(sealed):
        return [block]
    carried = unseal(str(sealed))
    if carried is None or carried.family != "anthropic":
        return []
    entries = carried.members.get("reasoning_details")
    found = [_block_of(entry) for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [other for other in found if other is not None]


def _block_of(entry: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the block in an entry of `reasoning_details`, which `docs/api.md` describes."""
    text, signature, data = entry.get("text"), entry.get("signature"), entry.get("data")
    if isinstance(signature, str) and signature:
        return {"type": "thinking", "thinking": text if isinstance(text, str) else "", "signature": signature}
    if isinstance(data, str) and data and not data.startswith("signalbox."):
        return {"type": "redacted_thinking", "data": data}
    return None


def _is_manual(thinking: Any) -> bool:
    return isinstance(thinking, dict) and thinking.get("type") == "enabled"


def _in_foreign_loop(messages: list[Any]) -> bool:
    """Return whether results follow calls of another provider's answer that does not begin with thinking."""
    answer = next(
        (each for each in reversed(messages) if isinstance(each, dict) and each.get("role") == "assistant"), {}
    )
    content = answer.get("content")
    last = messages[-1].get("content") if messages and isinstance(messages[-1], dict) else None
    if not isinstance(content, list) or not isinstance(last, list) or not content:
        return False
    blocks = [block for block in content if isinstance(block, dict)]
    results = any(isinstance(block, dict) and block.get("type") == "tool_result" for block in last)
    calls = [str(block.get("id")) for block in blocks if block.get("type") == "tool_use"]
    foreign = any(not id.startswith(_OWN_IDS) for id in calls)
    return results and foreign and blocks[0].get("type") not in _HOLDERS


def _keeps_context(body: Mapping[str, Any], write: dict[str, Any]) -> bool:
    """Leave edits of the context out that need thinking, by a new value in `write`; return whether others are left."""
    context = body.get("context_management")
    edits = context.get("edits") if isinstance(context, dict) else None
    if not isinstance(context, dict) or not isinstance(edits, list):
        return True
    kept = [
        each for each in edits if not (isinstance(each, dict) and str(each.get("type")).startswith(_CLEARS_THINKING))
    ]
    if len(kept) < len(edits) and (kept or len(context) > 1):
        write["context_management"] = {**context, "edits": kept}
    return bool(kept) or len(context) > 1
