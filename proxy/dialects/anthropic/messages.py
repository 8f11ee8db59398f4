"""OpenAI messages as Anthropic's `system` and `messages`.

Anthropic's rules that OpenAI has not: instructions stand apart; turns alternate; every `tool_use` of an assistant turn
has its `tool_result` at the beginning of the next user turn; ids of calls are unique and made of letters, digits, `_`
and `-`; no text is empty, and a prefill does not end with white space. Source: API reference, "Messages"; "Tool use".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.core.json_text import object_of
from proxy.dialects.anthropic.parts import Block, content_blocks, marked, text_block
from proxy.dialects.anthropic.thinking import echoed_blocks

Recalled = Callable[[str], list[Block] | None]  # a call's id -> the thinking blocks that came with it

NO_RESULT = "No result was given for this call."
_SYSTEM = ("system", "developer")
_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")


@dataclass(frozen=True, slots=True)
class Prompt:
    """Anthropic's form of a conversation; `system` is absent (None), a string, or text blocks."""

    system: str | list[Block] | None
    messages: list[dict[str, Any]]
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Called:
    client_id: str | None
    name: str
    native_id: str


@dataclass(slots=True)
class _Turn:
    role: str
    blocks: list[Block] = field(default_factory=list)
    calls: list[_Called] = field(default_factory=list)  # of an assistant turn
    results: dict[str, Block] = field(default_factory=dict)  # of a user turn, by native id


def read_messages(messages: list[Any], recalled: Recalled = lambda _: None) -> Prompt:
    """Translate a conversation. Raises `InvalidRequest` that names the message which no block can carry.

    A conversation of instructions only is sent as the user's: Anthropic wants at least one turn.
    """
    reader = _Reader(recalled)
    for place, message in enumerate(messages):
        reader.add(message, f"messages[{place}]")
    turns = reader.rendered()
    system = _plain(reader.system)
    if not turns and system is not None:
        turns, system = [{"role": "user", "content": system}], None
    return Prompt(system, turns, tuple(reader.dropped))


class _Reader:
    def __init__(self, recalled: Recalled) -> None:
        self.system: list[Block] = []
        self.dropped: list[str] = []
        self._recalled = recalled
        self._turns: list[_Turn] = []
        self._ids: set[str] = set()

    def add(self, message: Mapping[str, Any], where: str) -> None:
        role = message.get("role")
        if message.get("name") and role != "function" and "messages.name" not in self.dropped:
            self.dropped.append("messages.name")
        if role in _SYSTEM:
            self.system += _of_message(message, where, only_text=True)
        elif role == "user":
            self._append("user", _of_message(message, where))
        elif role == "assistant":
            self._assistant(message, where)
        elif role in ("tool", "function"):
            self._result(message, where)
        else:
            raise InvalidRequest(f"`{where}.role`: this role is unknown.", param=f"{where}.role")

    def rendered(self) -> list[dict[str, Any]]:
        """The turns as they are sent."""
        if self._turns and self._turns[-1].calls:
            self._turns.append(_Turn("user"))
        sent: list[dict[str, Any]] = []
        open_calls: list[_Called] = []
        for turn in self._turns:
            results = [turn.results.get(call.native_id) or _no_result(call) for call in open_calls]
            sent.append({"role": turn.role, "content": _plain(results + turn.blocks)})
            open_calls = turn.calls
        if sent and sent[-1]["role"] == "assistant":
            sent[-1]["content"] = _without_trailing_space(sent[-1]["content"])
        return sent

    def _turn(self, role: str) -> _Turn:
        if not self._turns or self._turns[-1].role != role:
            self._turns.append(_Turn(role))
        return self._turns[-1]

    def _append(self, role: str, blocks: list[Block]) -> None:
        if blocks:
            self._turn(role).blocks += blocks

    def _assistant(self, message: Mapping[str, Any], where: str) -> None:
        texts = content_blocks(message.get("content"), f"{where}.content", only_text=True)
        if not texts and isinstance(message.get("refusal"), str):
            texts = content_blocks(message["refusal"], f"{where}.refusal")
        calls = _calls_of(message, where)
        thinking = echoed_blocks(message) or self._remembered(calls)
        if not texts and not calls:
            return
        turn = self._turn("assistant")
        turn.blocks += thinking + texts
        for client_id, name, arguments in calls:
            called = _Called(client_id, name, self._native_id(client_id))
            turn.calls.append(called)
            turn.blocks.append({"type": "tool_use", "id": called.native_id, "name": name, "input": arguments})
        turn.blocks[-1] = marked(turn.blocks[-1], message)

    def _remembered(self, calls: list[tuple[str | None, str, dict[str, Any]]]) -> list[Block]:
        for client_id, _, _ in calls:
            found = self._recalled(client_id) if client_id else None
            if found:
                return found
        return []

    def _native_id(self, client_id: str | None) -> str:
        """The client's id where Anthropic takes it; an id that a later turn uses again gets a number."""
        name = _NOT_IN_IDS.sub("_", client_id or "") or "call"
        native, number = name, 1
        while native in self._ids:
            number += 1
            native = f"{name}_{number}"
        self._ids.add(native)
        return native

    def _result(self, message: Mapping[str, Any], where: str) -> None:
        blocks = content_blocks(message.get("content"), f"{where}.content")
        called = self._call_of(message)
        if called is None:  # its call is not in the turn before: Anthropic would refuse it as a result
            self._append("user", blocks)
            return
        result: Block = {"type": "tool_result", "tool_use_id": called.native_id, "content": _plain(blocks) or ""}
        if message.get("is_error") is True:
            result["is_error"] = True
        self._turn("user").results[called.native_id] = marked(result, message)

    def _call_of(self, message: Mapping[str, Any]) -> _Called | None:
        """The call of the last assistant turn that the message answers; a legacy one is found by its name."""
        turns = self._turns[-2:]
        calls = next((turn.calls for turn in reversed(turns) if turn.role == "assistant"), [])
        done = turns[-1].results if turns and turns[-1].role == "user" else {}
        if message.get("role") == "tool":
            found = [call for call in calls if call.client_id == message.get("tool_call_id")]
        else:
            found = [call for call in calls if call.name == message.get("name")]
        return next((call for call in found if call.native_id not in done), found[-1] if found else None)


def _of_message(message: Mapping[str, Any], where: str, *, only_text: bool = False) -> list[Block]:
    blocks = content_blocks(message.get("content"), f"{where}.content", only_text=only_text)
    if blocks:
        blocks[-1] = marked(blocks[-1], message)
    return blocks


def _calls_of(message: Mapping[str, Any], where: str) -> list[tuple[str | None, str, dict[str, Any]]]:
    """Id, name and arguments of each call, of the legacy `function_call` too."""
    given = message.get("tool_calls") or []
    if not isinstance(given, list):
        raise InvalidRequest(f"`{where}.tool_calls` must be a list.", param=f"{where}.tool_calls")
    calls = [_call(call, f"{where}.tool_calls[{place}]") for place, call in enumerate(given)]
    if not calls and message.get("function_call"):
        calls = [_call({"function": message["function_call"]}, f"{where}.function_call")]
    return calls


def _call(call: Any, where: str) -> tuple[str | None, str, dict[str, Any]]:
    call = call if isinstance(call, dict) else {}
    function = call.get("function") or call.get("custom")
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str) or not name:
        raise InvalidRequest(f"`{where}` must name the function that was called.", param=where)
    client_id = call.get("id")
    arguments = function.get("arguments", function.get("input"))
    return client_id if isinstance(client_id, str) else None, name, _arguments(arguments)


def _arguments(text: Any) -> dict[str, Any]:
    """The arguments as an object; what is none (a call that was cut, a custom tool's text) is kept as a text in one."""
    if isinstance(text, dict):
        return text
    if not isinstance(text, str) or not text.strip():
        return {}
    value = object_of(text)
    return {"arguments": text} if value is None else value


def _no_result(call: _Called) -> Block:
    return {"type": "tool_result", "tool_use_id": call.native_id, "content": NO_RESULT, "is_error": True}


def _without_trailing_space(content: str | list[Block]) -> str | list[Block]:
    if isinstance(content, str):
        return content.rstrip()
    last = content[-1]
    return [*content[:-1], {**last, "text": last["text"].rstrip()}] if last["type"] == "text" else content


def _plain(blocks: list[Block]) -> str | list[Block] | None:
    """A single text without a mark as a string, as most clients would write it; None if there is nothing."""
    if not blocks:
        return None
    if len(blocks) == 1 and blocks[0] == text_block(blocks[0].get("text", "")):
        return str(blocks[0]["text"])
    return blocks
