"""Reads answers that pass to the client in the provider's own format: of Anthropic, of the Responses API and of Google.

What has no counterpart in chat, such as the call of a hosted tool, counts as media: such an answer is never empty, and
no judge reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from proxy.core.call import Call, NativeRequest
from proxy.core.json_text import typed
from proxy.learning.collected import MOST, Collected
from proxy.learning.rating import Answer, tools_of
from proxy.learning.reading import Reading
from proxy.surfaces.base import Encoder, Surface

_NOTHING = msgspec.Raw(b"")
_THOUGHTS = ("thinking", "redacted_thinking", "reasoning")


class _Block(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None
    name: str | None = None
    input: msgspec.Raw = _NOTHING
    partial_json: str | None = None


class _MessageEvent(msgspec.Struct, gc=False):
    index: int = 0
    content_block: _Block | None = None
    delta: _Block | None = None
    content: list[_Block] = []  # of a whole message


class Messages(Collected):
    """Reads Anthropic's messages."""

    def _read(self, text: bytes) -> bool:
        event = typed(_decode_message, text)
        if event is None:
            return False
        for index, block in enumerate(event.content):
            self._begin(index, block, block.input)
        if event.content_block is not None:
            self._begin(event.index, event.content_block, _NOTHING)
        if event.delta is not None:
            self.add_text(event.delta.text or "")
            if event.delta.partial_json:
                self.add_call(event.index, "", event.delta.partial_json)
        return True

    def _begin(self, index: int, block: _Block, arguments: msgspec.Raw) -> None:
        if block.type == "tool_use":
            self.add_call(index, block.name or "", _json(arguments))
        elif block.type == "text":
            self.add_text(block.text or "")
        elif block.type not in _THOUGHTS:
            self.media = True


class _Content(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None


class _Item(msgspec.Struct):
    type: str = ""
    content: list[_Content] | None = None
    name: str | None = None
    namespace: str | None = None
    arguments: Any = None
    input: Any = None


class _ResponseEvent(msgspec.Struct):
    item: _Item | None = None
    output: list[_Item] = []  # of a whole response


class Responses(Collected):
    """Reads the output items of the Responses API. Of a stream, only events with a complete item are decoded."""

    def __init__(self, *, stream: bool) -> None:
        super().__init__()
        self._stream = stream
        self._items = 0

    def _read(self, text: bytes) -> bool:
        if self._stream and b'"response.output_item.done"' not in text:
            return True
        event = typed(_decode_response, text)
        if event is None:
            return False
        for item in (event.item,) if self._stream else event.output:
            if item is not None:
                self._add(item)
        return True

    def _add(self, item: _Item) -> None:
        self._items += 1
        if item.type == "message":
            for part in item.content or ():
                self.refused |= part.type == "refusal"
                self.add_text(part.text or "")
        elif item.type in ("function_call", "custom_tool_call") and not item.namespace:
            custom = item.type == "custom_tool_call"
            text = item.input if custom else item.arguments
            self.add_call(self._items, item.name or "", text if isinstance(text, str) else "", custom=custom)
        elif item.type not in _THOUGHTS:
            self.media = True


class _FunctionCall(msgspec.Struct, gc=False):
    name: str = ""
    args: msgspec.Raw = _NOTHING


class _Part(msgspec.Struct, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    function_call: _FunctionCall | None = None
    thought_signature: str | None = None


class _Parts(msgspec.Struct):
    parts: list[_Part] = []


class _Candidate(msgspec.Struct):
    index: int = 0
    content: _Parts | None = None


class _Generated(msgspec.Struct):
    candidates: list[_Candidate] = []


class Generate(Collected):
    """Reads Google's answers; a stream without `alt=sse` is one JSON array, which is read at its end."""

    def __init__(self, *, array: bool) -> None:
        super().__init__()
        self._array = array
        self._body = bytearray()
        self._calls_seen = 0

    def _read(self, text: bytes) -> bool:
        if not self._array:
            generated = typed(_decode_generated, text)
            return generated is not None and self._add_parts([generated])
        if len(self._body) <= MOST:
            self._body += text
        return True

    def answer(self) -> Answer | None:
        """Return the answer; `None` if it cannot be read."""
        if self._array:
            listed = typed(_decode_array, bytes(self._body)) if len(self._body) <= MOST else None
            self.readable = listed is not None and self._add_parts(listed)
        return super().answer()

    def _add_parts(self, answers: Sequence[_Generated]) -> bool:
        """Add what the answers contain; return true."""
        for candidate in [candidate for each in answers for candidate in each.candidates if candidate.index == 0]:
            for part in candidate.content.parts if candidate.content else ():
                self._add(part)
        return True

    def _add(self, part: _Part) -> None:
        if part.function_call is not None:
            self._calls_seen += 1
            self.add_call(self._calls_seen, part.function_call.name, _json(part.function_call.args))
        elif part.text is not None:
            self.add_text("" if part.thought else part.text)
        elif part.thought_signature is None:
            self.media = True


_decode_message = msgspec.json.Decoder(_MessageEvent).decode
_decode_response = msgspec.json.Decoder(_ResponseEvent).decode
_decode_generated = msgspec.json.Decoder(_Generated).decode
_decode_array = msgspec.json.Decoder(list[_Generated]).decode


def native_reading(
    call: Call, native: NativeRequest, inner: Encoder | None, surface: Surface, done: Callable[[Answer | None], None]
) -> Reading:
    """Return the encoder that reads an answer in the format of the client's request."""
    collected: Collected = Messages()
    if native.format == "responses":
        collected = Responses(stream=call.stream)
    elif native.format == "generate":
        collected = Generate(array=call.stream and not native.events)

    def read(answer: Answer | None) -> None:
        done(None if answer is None else known_calls(answer, call.body))

    return Reading(inner, surface, stream=call.stream and native.events, done=read, collected=collected)


def known_calls(answer: Answer, body: Mapping[str, Any]) -> Answer:
    """Return an answer without the calls of tools that the chat body names otherwise, or that the provider runs."""
    tools = tools_of(body)
    calls = tuple([call for call in answer.calls if call.name in tools])
    return answer if len(calls) == len(answer.calls) else replace(answer, calls=calls, media=True)


def _json(value: msgspec.Raw) -> str:
    return bytes(value).decode("utf-8", "replace")
