"""Anthropic's message, event by event, as an OpenAI answer.

A message that is not streamed is read as the events that would have built it, so that both forms give the same facts.
Events, blocks and members that are not known here are passed over: server tools and their results, for one, have
happened on Anthropic's side and are no calls for the client. Sources: Anthropic's documentation, "Streaming messages"
(usage in `message_delta` is cumulative), "Handling stop reasons", "Prompt caching" (the whole input is the sum of read,
written and other tokens), "Citations".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.core.json_text import object_of
from proxy.core.types import Usage
from proxy.dialects.anthropic.structure import WRAPPED, Structure
from proxy.dialects.anthropic.thinking import detail_of
from proxy.dialects.writer import AnswerWriter

Keep = Callable[[str, list[dict[str, Any]]], None]  # a call's id, and the thinking blocks that it needs again

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


@dataclass(slots=True)
class _Block:
    kind: str
    given: Mapping[str, Any]  # the block as it began
    text: str = ""
    signature: str = ""
    place: int | None = None  # of a tool call among the client's
    is_answer: bool = False  # the forced tool's call: its arguments are the content
    began: int = 0  # characters of content before it
    citations: list[Mapping[str, Any]] = field(default_factory=list)


class Answer:
    """One message being read.

    `finished`: the stop reason came; it is written by `close`, since content may follow it. `reopened`: content did, so
    that an end of the bytes may have cut the rest off. `ended`: the message is over.
    """

    def __init__(self, writer: AnswerWriter, structure: Structure | None, keep: Keep) -> None:
        self.finished = self.reopened = self.ended = False
        self.native_finish: str | None = None
        self._writer = writer
        self._tool = structure.tool_name if structure else None
        self._wrapped = structure is not None and structure.wrapped
        self._keep = keep
        self._blocks: dict[int, _Block] = {}
        self._signed: list[dict[str, Any]] = []
        self._calls: list[str] = []
        self._answered = False
        self._explanation = ""  # of a refusal
        self._characters = 0
        self._annotations = 0
        self._counts: dict[str, Any] = {}
        self._told: str | None = None  # the id of the message that is being read

    def read(self, event: Mapping[str, Any]) -> None:
        """Take one event; what is odd in it is passed over."""
        if self.ended:
            return
        reader = self._READERS.get(str(event.get("type")))
        if reader is not None:
            reader(self, event)

    def _start(self, event: Mapping[str, Any]) -> None:
        message = _object(event.get("message"))
        if isinstance(message.get("model"), str) and message["model"] and self._told is None:
            self._told = self._writer.model = message["model"]
        self._count(message.get("usage"))

    def _block_start(self, event: Mapping[str, Any]) -> None:
        given, index = _object(event.get("content_block")), event.get("index")
        if not isinstance(index, int):
            return
        self.reopened = self.finished
        block = _Block(_string(given.get("type")), given, began=self._characters)
        self._blocks[index] = block
        if block.kind == "tool_use":
            self._call(block)
        self._text(block, _string(given.get("text")))
        self._thinking(block, _string(given.get("thinking")))
        block.signature = _string(given.get("signature"))
        self._cite(block, given.get("citations"))

    def _block_delta(self, event: Mapping[str, Any]) -> None:
        index = event.get("index")
        block = self._blocks.get(index) if isinstance(index, int) else None
        if block is None:
            return
        self.reopened = self.finished
        delta = _object(event.get("delta"))
        self._text(block, _string(delta.get("text")))
        self._thinking(block, _string(delta.get("thinking")))
        self._arguments(block, _string(delta.get("partial_json")))
        block.signature += _string(delta.get("signature"))
        self._cite(block, [delta.get("citation")])

    def _block_stop(self, event: Mapping[str, Any]) -> None:
        index = event.get("index")
        block = self._blocks.pop(index, None) if isinstance(index, int) else None
        if block is not None:
            self._close(block)

    def _message_delta(self, event: Mapping[str, Any]) -> None:
        self._count(event.get("usage"))
        delta = _object(event.get("delta"))
        reason = delta.get("stop_reason")
        if not isinstance(reason, str) or not reason:
            return
        self.native_finish = reason
        self.finished, self.reopened = True, False
        if reason == "refusal":
            self._explanation = _string(_object(delta.get("stop_details")).get("explanation"))

    def _stop(self, event: Mapping[str, Any]) -> None:
        if self.finished:
            self.close()

    def close(self) -> None:
        """Write what belongs to the end: open blocks, the finish. Needs a stop reason."""
        if self.ended or self.native_finish is None:
            return
        self.ended = True
        for index in sorted(self._blocks):  # a block that the upstream has not closed
            self._close(self._blocks.pop(index))
        if self.native_finish == "refusal":
            self._writer.refusal(self._explanation)
        for id in self._calls:
            self._keep(id, self._signed)
        self._writer.finish(self._finish(self.native_finish))

    def _finish(self, reason: str) -> str:
        """OpenAI's word. Whether there are calls for the client decides between `tool_calls` and `stop`."""
        word = _FINISH.get(reason, "stop")
        if word in ("stop", "tool_calls"):
            return "tool_calls" if self._calls else "stop"
        return word

    def _call(self, block: _Block) -> None:
        name = _string(block.given.get("name"))
        if self._tool is not None and name == self._tool:
            block.is_answer = not self._answered  # a second one would make the content no JSON
            self._answered = True
            return
        block.place = len(self._calls)
        id = _string(block.given.get("id")) or f"call_{block.place}"
        self._calls.append(id)
        self._writer.tool_call(block.place, id, name)

    def _text(self, block: _Block, text: str) -> None:
        if block.kind == "text" and text:
            self._characters += len(text)
            self._writer.text(text)

    def _thinking(self, block: _Block, text: str) -> None:
        if block.kind == "thinking" and text:
            block.text += text
            self._writer.reasoning(text)

    def _arguments(self, block: _Block, fragment: str) -> None:
        if block.kind != "tool_use" or not fragment:
            return
        block.text += fragment
        if block.place is not None:
            self._writer.arguments(block.place, fragment)
        elif block.is_answer and not self._wrapped:
            self._writer.text(fragment)

    def _cite(self, block: _Block, citations: Any) -> None:
        if isinstance(citations, list):
            block.citations += [item for item in citations if isinstance(item, dict) and _string(item.get("url"))]

    def _close(self, block: _Block) -> None:
        if block.kind == "tool_use":
            self._close_call(block)
        elif block.kind == "thinking" and block.signature:
            self._sign({"type": "thinking", "thinking": block.text, "signature": block.signature})
        elif block.kind == "redacted_thinking" and _string(block.given.get("data")):
            self._sign({"type": "redacted_thinking", "data": block.given["data"]})
        if block.citations:
            self._annotate(block)

    def _close_call(self, block: _Block) -> None:
        if not block.text:
            self._arguments(block, _json(_object(block.given.get("input"))))
        if block.is_answer and self._wrapped:
            self._writer.text(_unwrapped(block.text))

    def _sign(self, block: dict[str, Any]) -> None:
        self._writer.extra("reasoning_details", [detail_of(block, len(self._signed))])
        self._signed.append(block)

    def _annotate(self, block: _Block) -> None:
        """Web pages that a text rests on, in OpenAI's form; `index` is for clients that add up a stream."""
        notes = []
        for citation in block.citations:
            cited = {"start_index": block.began, "end_index": self._characters, "url": citation["url"]}
            cited["title"] = _string(citation.get("title"))
            notes.append({"index": self._annotations, "type": "url_citation", "url_citation": cited})
            self._annotations += 1
        self._writer.extra("annotations", notes)

    def _count(self, usage: Any) -> None:
        """Each count replaces the one that came before it."""
        told = {name: value for name, value in _object(usage).items() if value is not None}
        if told:
            self._counts.update(told)
            self._writer.usage = usage_of(self._counts)

    _READERS = {
        "message_start": _start,
        "content_block_start": _block_start,
        "content_block_delta": _block_delta,
        "content_block_stop": _block_stop,
        "message_delta": _message_delta,
        "message_stop": _stop,
    }


def events_of(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The events that would have built a message that came in one piece."""
    yield {"type": "message_start", "message": message}
    content = message.get("content")
    for index, block in enumerate(content if isinstance(content, list) else []):
        yield {"type": "content_block_start", "index": index, "content_block": block}
        yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": message, "usage": message.get("usage")}
    yield {"type": "message_stop"}


def usage_of(counts: Mapping[str, Any]) -> Usage:
    """Anthropic's counts; its `input_tokens` are what was neither read from the cache nor written to it."""
    read, written = _number(counts.get("cache_read_input_tokens")), _number(counts.get("cache_creation_input_tokens"))
    return Usage(
        input=_number(counts.get("input_tokens")) + read + written,
        output=_number(counts.get("output_tokens")),
        cached=read,
        cache_write=written,
        reasoning=_number(_object(counts.get("output_tokens_details")).get("thinking_tokens")),
    )


def _unwrapped(text: str) -> str:
    """The answer out of its wrapping; an answer that was cut off is given as it is."""
    value = object_of(text)
    return _json(value[WRAPPED]) if value is not None and WRAPPED in value else text


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
