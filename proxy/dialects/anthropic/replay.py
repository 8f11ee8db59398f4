"""Original blocks of a model's message, so that the next turn can repeat it unchanged.

Signed blocks are returned to the client in `reasoning_details`, one entry per block, and clients send them back in
assistant messages; `thinking_blocks` with native blocks are read as well:

    {"index": 0, "type": "reasoning.text", "text": "...", "signature": "...", "format": "anthropic-claude-v1"}
    {"index": 1, "type": "reasoning.encrypted", "data": "...", "format": "anthropic-claude-v1"}

Anthropic requires signed thinking at its original position: before the tool call that follows from it, with the steps
of server tools between them. OpenAI's message has one text and a list of calls, without their order. If the order is
not the usual one (thinking, text, calls), the whole sequence is returned as an additional entry of
`reasoning_details`:

    {"index": 2, "type": "reasoning.encrypted", "data": "signalbox.blocks.v1:[...]", "format": "anthropic-claude-v1"}

It is used only if the text and the calls of the message are those of the sequence. Otherwise the message is sent
without signed blocks, which Anthropic accepts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proxy.core.json_text import compact_nulled, nested_is_expensive, value_of
from proxy.dialects.anthropic.parts import Block

FORMAT = "anthropic-claude-v1"
PREFIX = "signalbox.blocks.v1:"
THINKING = ("thinking", "redacted_thinking")
_USUAL = {"thinking": 0, "redacted_thinking": 0, "text": 1, "tool_use": 2}


def is_plain(kinds: Sequence[str]) -> bool:
    """Whether a message has only text and calls, which need not be repeated unchanged."""
    return all(kind in ("text", "tool_use") for kind in kinds)


def needs_places(kinds: Sequence[str]) -> bool:
    """Whether a message differs from thinking, text and calls in this order."""
    ranks = [_USUAL.get(kind) for kind in kinds]
    known = [rank for rank in ranks if rank is not None]
    return len(known) < len(ranks) or known != sorted(known) or kinds.count("thinking") > 1


def places_detail(blocks: Sequence[Block], index: int) -> dict[str, Any]:
    """Return the entry of `reasoning_details` with the whole sequence; no blocks: it cannot be repeated."""
    data = PREFIX + compact_nulled(list(blocks)).decode()
    return {"index": index, "type": "reasoning.encrypted", "data": data, "format": FORMAT}


def places_of(entries: Any) -> list[Block] | None:
    """Return the sequence that a client sends back; None without one, empty if it is invalid."""
    for entry in entries if isinstance(entries, list) else ():
        data = entry.get("data") if isinstance(entry, dict) else None
        if isinstance(data, str) and data.startswith(PREFIX):
            text = data[len(PREFIX) :]
            return [] if nested_is_expensive(text) else read_blocks(value_of(text))
    return None


def read_blocks(value: Any) -> list[Block]:
    """Return a list of blocks, empty if `value` is not one."""
    blocks = value if isinstance(value, list) else []
    return blocks if all(isinstance(block, dict) and isinstance(block.get("type"), str) for block in blocks) else []


def repeated(blocks: Sequence[Block], texts: Sequence[Block], calls: Sequence[Block], *, last: bool) -> list[Block]:
    """Return the sequence to send, with the current names of the calls; empty if the message has changed.

    If the client omitted the text, it is omitted too. `last`: no message follows, so a server tool may be running.
    """
    words = _words(block.get("text") for block in texts)
    sequence = [block for block in blocks if block["type"] != "text" or (words and str(block.get("text")).strip())]
    uses = [block for block in sequence if block["type"] == "tool_use"]
    if words != _words(block.get("text") for block in sequence) or len(uses) != len(calls):
        return []
    if not all(_is_same(block, call) for block, call in zip(uses, calls, strict=True)) or not _may_end(sequence, last):
        return []
    named = iter(calls)
    return [
        {**block, "id": next(named)["id"]} if block["type"] == "tool_use" else dict(block)  # the id may be in use
        for block in sequence
    ]


def _is_same(block: Block, call: Block) -> bool:
    return bool(block.get("name") == call["name"] and block.get("input") == call["input"])


def _may_end(blocks: Sequence[Block], last: bool) -> bool:
    """Whether a turn may end so: not with thinking, nor with a server tool's unfinished step unless it is `last`."""
    if not blocks or blocks[-1]["type"] in THINKING:
        return False
    done = [block.get("tool_use_id") for block in blocks]
    steps = [block for block in blocks if block["type"].endswith("_tool_use")]
    return last or all(step.get("id") in done for step in steps)


def _words(texts: Any) -> str:
    """Return the texts without white space, which clients may change."""
    return "".join("".join(text.split()) for text in texts if isinstance(text, str))


def signed_entry(block: Mapping[str, Any], index: int) -> dict[str, Any]:
    """A `thinking` or `redacted_thinking` block as an entry of `reasoning_details`."""
    if block["type"] == "redacted_thinking":
        return {"index": index, "type": "reasoning.encrypted", "data": block["data"], "format": FORMAT}
    signed = {"text": block["thinking"], "signature": block["signature"]}
    return {"index": index, "type": "reasoning.text", **signed, "format": FORMAT}


def signed_blocks(message: Mapping[str, Any]) -> list[Block]:
    """Return the signed blocks that a client sends back without positions; unsigned and foreign ones are omitted.

    The positions of several thinking blocks are unknown, so none is returned then.
    """
    for name, read in (("thinking_blocks", _native_block), ("reasoning_details", _block_of_detail)):
        entries = message.get(name)
        if isinstance(entries, list):
            blocks = [read(entry) for entry in entries if isinstance(entry, dict)]
            if valid := [block for block in blocks if block is not None]:
                return valid if [block["type"] for block in valid].count("thinking") <= 1 else []
    return []


def _native_block(entry: Mapping[str, Any]) -> Block | None:
    kind, text, signature, data = (entry.get(name) for name in ("type", "thinking", "signature", "data"))
    if kind == "thinking" and isinstance(signature, str) and signature:
        return {"type": "thinking", "thinking": text if isinstance(text, str) else "", "signature": signature}
    if kind == "redacted_thinking" and isinstance(data, str) and data:
        return {"type": "redacted_thinking", "data": data}
    return None


def _block_of_detail(entry: Mapping[str, Any]) -> Block | None:
    if not str(entry.get("format") or FORMAT).startswith("anthropic"):
        return None
    kind = {"reasoning.text": "thinking", "reasoning.encrypted": "redacted_thinking"}.get(str(entry.get("type")))
    return _native_block({**entry, "type": kind, "thinking": entry.get("text")})
