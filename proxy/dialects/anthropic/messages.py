"""Translation of OpenAI messages to Anthropic's `system` and `messages`.

Anthropic's rules in addition to the order of turns (`proxy/dialects/turns.py`): instructions are in `system`; results
are first in their turn; ids of calls are unique and consist of letters, digits, `_` and `-`; texts are not blank, and a
prefill does not end with white space; signed blocks of the assistant are returned unchanged
(`proxy/dialects/anthropic/replay.py`). Source: API reference, "Messages"; "Tool use"; "Extended thinking".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.dialects.anthropic.parts import Block, content_blocks, marked, text_block
from proxy.dialects.anthropic.replay import places_of, read_blocks, repeated, signed_blocks
from proxy.dialects.assistant import Dropped, arguments_of, calls_of, parts_of, plain_text
from proxy.dialects.memory import ToolCall
from proxy.dialects.turns import NO_RESULT, PLACEHOLDER, History, ToolUse, TurnRules

Recalled = Callable[[int, list[ToolCall]], Any]  # a message's index and its calls -> its original blocks

_SYSTEM = ("system", "developer")
_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")
_ALL_READ = ("reasoning_details", "reasoning_content", "reasoning", "thinking_blocks")  # represented by signed blocks


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation in Anthropic's format; `system` is a string, text blocks, or `None`."""

    system: str | list[Block] | None
    messages: list[dict[str, Any]]
    dropped: tuple[str, ...] = ()


def read_messages(messages: list[Any], recalled: Recalled = lambda place, calls: None) -> Prompt:
    """Translate a conversation. Raises `InvalidRequest` that names a message with unsupported content.

    A conversation of instructions only is sent as a user turn: Anthropic requires at least one turn.
    """
    reader = _Reader(recalled, len(messages))
    for place, message in enumerate(messages):
        reader.add(message, place)
    if messages[-1].get("role") in _SYSTEM:
        reader.history.instructed()
    system = _plain(reader.system)
    if reader.history.is_empty:
        return Prompt(None, [{"role": "user", "content": system or PLACEHOLDER}], tuple(reader.dropped.names))
    turns = reader.history.legal_turns(_RULES)
    if turns[-1].role == "assistant":
        turns[-1].blocks = _without_trailing_space(turns[-1].blocks)
    messages = [{"role": turn.role, "content": _plain(turn.blocks)} for turn in turns]
    return Prompt(system, messages, tuple(reader.dropped.names))


class _Reader:
    def __init__(self, recalled: Recalled, count: int) -> None:
        self.system: list[Block] = []
        self.history = History()
        self.dropped = Dropped()
        self._recalled = recalled
        self._last = count - 1

    def add(self, message: Mapping[str, Any], place: int) -> None:
        role, where = message.get("role"), f"messages[{place}]"
        if message.get("name") and role not in ("function", "tool"):
            self.dropped.member("name")
        if role in _SYSTEM:
            self.system += _of_message(message, where, only_text=True)
        elif role == "user":
            self.history.user(_of_message(message, where))
        elif role == "assistant":
            self._assistant(message, where, place)
        elif role in ("tool", "function"):
            self._result(message, where)
        else:
            raise InvalidRequest(f"`{where}.role` is not a known role.", param=f"{where}.role")

    def _assistant(self, message: Mapping[str, Any], where: str, place: int) -> None:
        if (plain := plain_text(message)) is not None:
            self.history.assistant([text_block(plain)] if plain.strip() else [])
            return
        texts = [
            marked(text_block(part["text"]), part) for part in parts_of(message, self.dropped) if part["text"].strip()
        ]
        calls = calls_of(message, where)
        uses = [self._tool_use(call) for call in calls]
        blocks = [
            {"type": "tool_use", "id": use.id, "name": use.name, "input": arguments_of(call)}
            for use, call in zip(uses, calls, strict=True)
        ]
        signed = self._signed(message, texts, blocks, place, calls)
        self.dropped.members(message, _ALL_READ if signed else ())
        whole = signed or [*texts, *blocks]
        if whole:
            whole[-1] = marked(whole[-1], message)
        self.history.assistant(whole, uses)

    def _tool_use(self, call: ToolCall) -> ToolUse:
        """Return a call with the client's id, if Anthropic accepts it."""
        return self.history.tool_use(call.id, call.name, _NOT_IN_IDS.sub("_", call.id or "") or "call")

    def _signed(
        self, message: Mapping[str, Any], texts: list[Block], blocks: list[Block], place: int, calls: list[ToolCall]
    ) -> list[Block]:
        """Return the message with its signed blocks, from the client or from memory; empty without any."""
        sequence = places_of(message.get("reasoning_details"))
        if sequence is None and (signed := signed_blocks(message)):
            return [*signed, *texts, *blocks] if texts or blocks else []
        if sequence is None and calls:
            sequence = read_blocks(self._recalled(place, calls))
        return repeated(sequence, texts, blocks, last=place == self._last) if sequence else []

    def _result(self, message: Mapping[str, Any], where: str) -> None:
        blocks = content_blocks(message.get("content"), f"{where}.content")
        use = self.history.answered(message)
        if use is None:  # without its call, Anthropic would reject it as a result
            self.history.user(blocks)
            return
        use.result = {"type": "tool_result", "tool_use_id": use.id, "content": _plain(blocks) or ""}
        if message.get("is_error") is True:
            use.result["is_error"] = True
        use.result = marked(use.result, message)


def _of_message(message: Mapping[str, Any], where: str, *, only_text: bool = False) -> list[Block]:
    blocks = content_blocks(message.get("content"), f"{where}.content", only_text=only_text)
    if blocks:
        blocks[-1] = marked(blocks[-1], message)
    return blocks


def _no_result(use: ToolUse) -> Block:
    return {"type": "tool_result", "tool_use_id": use.id, "content": NO_RESULT, "is_error": True}


_RULES = TurnRules(text=text_block, no_result=_no_result)


def _without_trailing_space(blocks: list[Block]) -> list[Block]:
    *before, last = blocks
    return [*before, {**last, "text": last["text"].rstrip()}] if last["type"] == "text" else blocks


def _plain(blocks: list[Block]) -> str | list[Block] | None:
    """Return a single text without a cache mark as a string; None without blocks."""
    if not blocks:
        return None
    if len(blocks) == 1 and blocks[0] == text_block(blocks[0].get("text", "")):
        return str(blocks[0]["text"])
    return blocks
