"""The messages of an Anthropic request as chat messages.

- The results of tools come first in a user's turn, as `tool` messages; they are never dropped.
- An assistant's message has one text and a list of calls. What a provider has signed comes back in `thinking` and
  `redacted_thinking` blocks that Signalbox issued (`proxy/surfaces/carriers.py`); other thinking is dropped.
- Messages with the role `system` may stand anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proxy.core.dialects import DialectName
from proxy.core.json_text import compact_nulled
from proxy.surfaces.carriers import Carried, is_carrier
from proxy.surfaces.messages.carry import family_of
from proxy.surfaces.messages.content import (
    Part,
    blocks_of,
    drop_block,
    joined,
    note_cache,
    parts_of,
    plain,
    string,
    text_part,
    texts_of,
)
from proxy.surfaces.messages.notes import Notes, invalid
from proxy.surfaces.messages.tools import chat_name

Message = dict[str, Any]
Restore = Callable[[Message, str], Carried | None]  # puts a carrier's content into a message, and returns it

_BILLING = "x-anthropic-billing-header:"  # a block of Claude Code that changes with each run


def instructions(system: Any, notes: Notes) -> list[Message]:
    """Return `system` as a message. Claude Code's billing block is left out: it would defeat prompt caches."""
    if system is None:
        return []
    texts = [text for text in texts_of(system, "system", notes) if not text.lstrip().startswith(_BILLING)]
    return [{"role": "system", "content": joined(texts)}] if any(texts) else []


def read_messages(messages: Any, notes: Notes, restore: Restore) -> list[Message]:
    """Translate the conversation. Raises `InvalidRequest` that names a wrong member."""
    if not isinstance(messages, list) or not messages:
        raise invalid("messages", "a list with at least one message")
    chat: list[Message] = []
    reader = _Reader(notes, restore)
    for place, message in enumerate(messages):
        where = f"messages[{place}]"
        if not isinstance(message, dict):
            raise invalid(where, "an object")
        chat += reader.read(message, where)
    notes.family = reader.family
    return chat


class _Reader:
    def __init__(self, notes: Notes, restore: Restore) -> None:
        self._notes = notes
        self._restore = restore
        self._family: DialectName | None = None  # of the newest signature since the user's question
        self._open = False  # results follow the assistant's last message

    @property
    def family(self) -> DialectName | None:
        """The family of models whose signature an open tool loop carries."""
        return self._family if self._open else None

    def read(self, message: Mapping[str, Any], where: str) -> list[Message]:
        content = f"{where}.content"
        match message.get("role"):
            case "user":
                return self._user(message.get("content"), content)
            case "assistant":
                return self._assistant(message.get("content"), content)
            case "system":
                texts = texts_of(message.get("content"), content, self._notes)
                return [{"role": "system", "content": joined(texts)}] if any(texts) else []
            case _:
                raise invalid(f"{where}.role", "`user`, `assistant` or `system`")

    def _user(self, content: Any, where: str) -> list[Message]:
        results: list[Message] = []
        parts: list[Part] = []
        for place, block in enumerate(blocks_of(content, where)):
            at = f"{where}[{place}]"
            if block["type"] == "tool_result":
                results.append(self._result(block, at))
            else:
                parts += parts_of(block, at, self._notes)
        self._open = self._open or bool(results)
        if not results:
            self._family = None  # a new question
        return [*results, {"role": "user", "content": plain(parts)}] if parts or not results else results

    def _result(self, block: Mapping[str, Any], where: str) -> Message:
        """Return the `tool` message of a result."""
        note_cache(block, self._notes)
        id = string(block, "tool_use_id", where)
        parts: list[Part] = []
        content = block.get("content")
        for place, inner in enumerate(blocks_of("" if content is None else content, f"{where}.content")):
            if inner["type"] != "tool_reference":  # the tool that it names is in `tools`
                parts += parts_of(inner, f"{where}.content[{place}]", self._notes)
        output = plain(parts)
        if block.get("is_error") is True:
            output = f"Error: {output}".rstrip(": ") if isinstance(output, str) else [text_part("Error:"), *output]
        return {"role": "tool", "tool_call_id": id, "content": output}

    def _assistant(self, content: Any, where: str) -> list[Message]:
        self._open = False
        texts: list[str] = []
        calls: list[dict[str, Any]] = []
        sealed: list[Mapping[str, Any]] = []
        images: list[Part] = []
        for place, block in enumerate(blocks_of(content, where)):
            at = f"{where}[{place}]"
            match block["type"]:
                case "text":
                    note_cache(block, self._notes)
                    texts.append(string(block, "text", at))
                case "tool_use":
                    calls.append(self._call(block, at))
                case "compaction":  # a summary of earlier messages
                    texts.append(string(block, "content", at) if block.get("content") is not None else "")
                case "thinking" | "redacted_thinking":
                    sealed.append(block)
                case "image":  # of an earlier answer
                    images += [{**part, "index": len(images)} for part in parts_of(block, at, self._notes)]
                case _:
                    drop_block(block, self._notes)
        text = "".join(texts)
        message = _answer(text, calls, images)
        for block in sealed:
            self._carry(message, block)
        return [message] if any((text, calls, images)) else []

    def _call(self, block: Mapping[str, Any], where: str) -> dict[str, Any]:
        note_cache(block, self._notes)
        id, name = string(block, "id", where), string(block, "name", where)
        arguments = block.get("input")
        if not isinstance(arguments, dict):
            raise invalid(f"{where}.input", "an object")
        text = compact_nulled(arguments).decode()
        return {"id": id, "type": "function", "function": {"name": chat_name(name), "arguments": text}}

    def _carry(self, message: Message, block: Mapping[str, Any]) -> None:
        """Put what a thinking block carries into the message; drop a block that another service has signed."""
        text = block.get("signature" if block["type"] == "thinking" else "data")
        if not isinstance(text, str) or not text:
            drop_block(block, self._notes)
            return
        carried = self._restore(message, text)
        if carried is None:
            drop_block(block, self._notes)
        family = family_of(carried) if carried is not None else None if is_carrier(text) else "anthropic"
        self._family = family or self._family


def _answer(text: str, calls: list[dict[str, Any]], images: list[Part]) -> Message:
    """Return an assistant's message."""
    message: Message = {"role": "assistant", "content": text or (None if calls else "")}
    if calls:
        message["tool_calls"] = calls
    if images:
        message["images"] = images
    return message
