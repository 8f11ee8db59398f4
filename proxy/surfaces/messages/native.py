"""The messages of a call for an Anthropic target, where other providers gave earlier answers.

Anthropic rejects signatures that it has not made. A thinking block with a carrier (`proxy/surfaces/carriers.py`) is
replaced by the blocks in it, if these are Anthropic's own, and else left out; so are images, searches and sources of
answers. Anthropic also requires that the answer to which results of tools belong begins with its thinking; if it
cannot, thinking is switched off for this call. Every other body keeps its bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proxy.core.call import NativeRequest
from proxy.core.json_text import value_of
from proxy.surfaces.carriers import PREFIX, Carried, edited, is_carrier
from proxy.surfaces.messages.rare import SEARCH, is_foreign, without_sources

Block = dict[str, Any]
Unseal = Callable[[str], Carried | None]

_SEQUENCE = "signalbox.blocks.v1:"  # how an entry with all blocks begins (`proxy/dialects/anthropic/replay.py`)
_HOLDERS = {"thinking": "signature", "redacted_thinking": "data"}
_OWN_IDS = ("toolu_", "srvtoolu_")  # how Anthropic's ids of calls begin
_MARKS = (
    PREFIX.encode(),
    b'"image"',
    b'"encrypted_index"',
    SEARCH.encode(),
)  # one of them is in every body with blocks to leave out
_CLEARS_THINKING = "clear_thinking"  # type of an edit of `context_management`, which needs thinking


def opened(native: NativeRequest, body: Mapping[str, Any], unseal: Unseal) -> NativeRequest:
    """Return the request without carriers, and without thinking where the conversation does not allow it."""
    write: dict[str, Any] = {}
    messages, opener = body["messages"], _Opener(unseal)
    if any(mark in native.raw for mark in _MARKS):
        messages = [other for message in messages for other in opener.message(message)]
        if messages != body["messages"]:
            write["messages"] = messages
    dropped = [f"messages.content.{kind}" for kind in opener.lost]
    remove = []
    if "thinking" in native.spans and _is_manual(body["thinking"]) and _in_foreign_loop(messages):
        remove, dropped = ["thinking"], [*dropped, "thinking"]
        if not _keeps_context(body, write):
            remove.append("context_management")
    if not (write or remove):
        return native
    return edited(native, write, remove, dropped=tuple(dropped))


class _Opener:
    """Opens carriers. `lost` has the types of the blocks that were left out."""

    def __init__(self, unseal: Unseal) -> None:
        self.lost: dict[str, None] = {}
        self._unseal = unseal
        self._sequence: list[Block] = []  # all blocks of the message, from a carrier of it

    def message(self, message: Any) -> list[Any]:
        """Return the message without carriers; nothing if it has no other content."""
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(content, list):
            return [message]
        self._sequence = []
        blocks = [other for block in content for other in self._block(block)]
        if message.get("role") == "assistant":
            foreign = [block for block in blocks if is_foreign(block)]
            self.lost |= {block["type"]: None for block in foreign}
            blocks = [without_sources(block) for block in blocks if not is_foreign(block)]
        blocks = _in_sequence(blocks, self._sequence) or blocks
        return [{**message, "content": blocks}] if blocks or not content else []

    def _block(self, block: Any) -> list[Any]:
        holder = _HOLDERS.get(str(block.get("type"))) if isinstance(block, dict) else None
        sealed = block.get(holder) if holder is not None else None
        if not is_carrier(sealed):
            return [block]
        carried = self._unseal(str(sealed))
        if carried is None or carried.family != "anthropic":
            self.lost["thinking"] = None
            return []
        entries = carried.members.get("reasoning_details")
        return [
            block
            for entry in (entries if isinstance(entries, list) else ())
            if isinstance(entry, dict) and (block := self._block_of(entry)) is not None
        ]

    def _block_of(self, entry: Mapping[str, Any]) -> Block | None:
        """Return the block in an entry of `reasoning_details`, which `docs/api.md` describes."""
        text, signature, data = entry.get("text"), entry.get("signature"), entry.get("data")
        if isinstance(signature, str) and signature:
            return {"type": "thinking", "thinking": text if isinstance(text, str) else "", "signature": signature}
        if not isinstance(data, str) or not data:
            return None
        if not data.startswith(_SEQUENCE):
            return {"type": "redacted_thinking", "data": data}
        blocks = value_of(data.removeprefix(_SEQUENCE))
        self._sequence = [each for each in blocks if isinstance(each, dict)] if isinstance(blocks, list) else []
        return None


def _in_sequence(blocks: list[Any], sequence: list[Block]) -> list[Any]:
    """Return the blocks in the order in which Anthropic gave them; empty if the client has changed them.

    An answer as a whole has its thinking first, also where it came between the calls.
    """
    calls = {block.get("id"): block for block in blocks if isinstance(block, dict) and block.get("type") == "tool_use"}
    ids = [block.get("id") for block in sequence if block.get("type") == "tool_use"]
    if not sequence or ids != list(calls) or _texts(sequence) != _texts(blocks):
        return []
    return [calls[block.get("id")] if block.get("type") == "tool_use" else block for block in sequence]


def _texts(blocks: list[Any]) -> str:
    texts = [block.get("text") for block in blocks if isinstance(block, dict) and block.get("type") == "text"]
    return "".join("".join(text.split()) for text in texts if isinstance(text, str))


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
