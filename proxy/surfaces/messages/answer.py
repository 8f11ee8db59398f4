"""Writes a whole chat completion as an Anthropic message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.core.call import Call
from proxy.core.errors import ProxyError
from proxy.core.json_text import compact_nulled, object_of, strict_object_of
from proxy.core.record import Record
from proxy.surfaces.decision import decision_record
from proxy.surfaces.messages.carry import Seals
from proxy.surfaces.messages.facts import CallNames, message_head, search_seed, stop_reason, usage_of
from proxy.surfaces.messages.rare import citation_blocks, image_blocks, search_blocks, search_usage

Block = dict[str, Any]


class MessageAnswer:
    """The encoder of one answer that is not streamed."""

    def __init__(self, call: Call, record: Record, seals: Seals) -> None:
        self._call = call
        self._record = record
        self._seals = seals
        self._body = b""

    def feed(self, data: bytes) -> bytes:
        """Keep the bytes until the answer is whole."""
        self._body += data
        return b""

    def finish(self) -> bytes:
        """Return the message."""
        completion = object_of(self._body) or {}
        choices = completion.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        message = choice.get("message")
        message = message if isinstance(message, dict) else {}
        calls = self._calls(message)
        searches = search_blocks(message.get("web_searches"), message.get("annotations"), search_seed(self._call))
        refusal = message.get("refusal")
        refused = isinstance(refusal, str) and bool(refusal)
        reason = stop_reason(choice.get("finish_reason"), calls=bool(calls), refused=refused)
        debug = {"router": decision_record(self._record)} if self._call.options.debug else {}
        return compact_nulled(
            {
                **message_head(self._call, self._record, completion.get("model")),
                "content": [
                    *self._thinking(message),
                    *_texts(message),
                    *searches,
                    *image_blocks(message.get("images")),
                    *calls,
                ],
                "stop_reason": reason,
                "stop_sequence": None,
                "usage": {**usage_of(completion.get("usage"), self._record), **search_usage(searches)},
                **debug,
            }
        )

    def fail(self, error: ProxyError) -> bytes:
        """Return nothing: what is not whole must not look like it."""
        return b""

    def _thinking(self, message: Mapping[str, Any]) -> list[Block]:
        """Return the thinking with the first signature, and a block for each further one."""
        text = message.get("reasoning_content") or message.get("reasoning")
        text = text if isinstance(text, str) else ""
        signatures = [*self._seals.read(message), *self._seals.rest()] or ([self._seals.thinking(text)] if text else [])
        texts = [text, *[""] * len(signatures)]
        return [
            {"type": "thinking", "thinking": thinking, "signature": signature}
            for thinking, signature in zip(texts, signatures, strict=False)
        ]

    def _calls(self, message: Mapping[str, Any]) -> list[Block]:
        names, blocks = CallNames(self._call), []
        calls = message.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            function = call.get("function") if isinstance(call, dict) else None
            if isinstance(function, dict):
                name = names.name(str(function.get("name") or ""))
                arguments = _arguments(function.get("arguments"))
                blocks.append({"type": "tool_use", "id": names.id(call.get("id")), "name": name, "input": arguments})
        return blocks


def _texts(message: Mapping[str, Any]) -> list[Block]:
    """Return the text with its sources, and the refusal; a list of parts is one text."""
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    blocks: list[Block] = [
        {"type": "text", "text": text} for text in (content, message.get("refusal")) if isinstance(text, str) and text
    ]
    if isinstance(content, str) and content and (cited := citation_blocks(message.get("annotations"), content)):
        blocks[0]["citations"] = cited
    return blocks


def _arguments(arguments: Any) -> dict[str, Any]:
    """Return a call's arguments as an object; other text becomes a member of one."""
    if isinstance(arguments, dict):
        return arguments
    if not isinstance(arguments, str) or not arguments.strip():
        return {}
    value = strict_object_of(arguments)
    return {"arguments": arguments} if value is None else value
