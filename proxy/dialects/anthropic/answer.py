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

from proxy.core.json_text import strict_object_of
from proxy.core.usage import UNBOUNDED, Usage, UsageBounds, count, grow, known
from proxy.dialects.answer_tool import Structure, unwrapped
from proxy.dialects.anthropic.replay import is_plain, needs_places, places_detail, signed_entry
from proxy.dialects.memory import ToolCall
from proxy.dialects.names import Renaming, ToolNames
from proxy.dialects.rewriter import MemberRewriter
from proxy.dialects.writer import AnswerWriter, invented_id

Keep = Callable[[list[ToolCall], list[dict[str, Any]]], None]  # an answer's calls, and its blocks as they came

_DETAILS = "output_tokens_details"
_COUNTS = (
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens",
    "thinking_tokens",  # among the details
)
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


_DELTAS = {  # what builds a block up; the default is that of tools
    "text": ("text_delta", "citations_delta"),
    "thinking": ("thinking_delta", "signature_delta"),
    "tool_use": ("input_json_delta",),
}


@dataclass(slots=True)
class _Block:
    kind: str
    given: Mapping[str, Any]  # the block as it began
    text: str = ""
    signature: str = ""
    place: int | None = None  # of a tool call among the client's
    is_answer: bool = False  # the forced tool's call: its arguments are the content
    answer: str = ""  # ... which is wrapped
    id: str = ""  # of a tool call, as the client has it
    began: int = 0  # characters of content before it
    ended: int = 0  # ... and with it
    citations: list[Mapping[str, Any]] = field(default_factory=list)
    is_whole: bool = True  # all that came in it is known here
    rewriter: MemberRewriter | None = None  # puts back the names of members


class Answer:
    """One message being read.

    `finished`: the stop reason came; it is written by `close`, since content may follow it. `reopened`: content did, so
    that an end of the bytes may have cut the rest off. `ended`: the message is over.
    """

    def __init__(
        self, writer: AnswerWriter, structure: Structure | None, keep: Keep, names: ToolNames | None = None
    ) -> None:
        self.finished = self.reopened = self.ended = False
        self.native_finish: str | None = None
        self._writer = writer
        self._tool = structure.tool_name if structure else None
        self._wrapped = structure is not None and structure.wrapped
        self._renaming = structure.renaming if structure else None
        self._names = names
        self._beside: list[str] = []  # text beside the forced tool's call, with which the content would be no JSON
        self._keep = keep
        self._blocks: dict[int, _Block] = {}
        self._order: list[_Block] = []
        self._signed = 0
        self._calls: list[_Block] = []
        self._answered = False
        self._explanation = ""  # of a refusal
        self._characters = 0
        self._annotations = 0
        self._counts: dict[str, int] = {}
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
        self._order.append(block)
        if block.kind == "tool_use":
            self._call(block)
        elif block.kind == "text" and self._tool is None:
            block.rewriter = _rewriter(self._renaming)
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
        block.is_whole = block.is_whole and delta.get("type") in _DELTAS.get(block.kind, _DELTAS["tool_use"])

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
        if self._beside and not self._answered:
            self._writer.text("".join(self._beside))
        if self.native_finish == "refusal":
            self._writer.refusal(self._explanation)
        self._keep_blocks()
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
            block.rewriter = _rewriter(self._renaming)
            return
        if self._names is not None:
            name = self._names.back(name)
            block.rewriter = _rewriter(self._names.renaming(name))
        block.place = len(self._calls)
        block.id = _string(block.given.get("id"))
        if not block.id or block.id in [call.id for call in self._calls]:
            block.id = invented_id(self._writer, block.place)
        self._calls.append(block)
        self._writer.tool_call(block.place, block.id, name)

    def _text(self, block: _Block, text: str) -> None:
        if block.kind != "text" or not text:
            return
        if self._tool is not None:
            self._beside.append(text)
            block.is_whole = False
            return
        if block.rewriter is not None:
            text = block.rewriter.feed(text)
        self._say(block, text)

    def _say(self, block: _Block, text: str) -> None:
        self._characters += len(text)
        block.ended = self._characters
        self._writer.text(text)

    def _thinking(self, block: _Block, text: str) -> None:
        if block.kind == "thinking" and text:
            block.text += text
            self._writer.reasoning(text)

    def _arguments(self, block: _Block, fragment: str) -> None:
        if not fragment:
            return
        block.text += fragment
        if block.kind == "tool_use":
            self._give(block, fragment if block.rewriter is None else block.rewriter.feed(fragment))

    def _give(self, block: _Block, fragment: str) -> None:
        """A piece of a call's arguments, in the client's words."""
        if block.place is not None:
            self._writer.arguments(block.place, fragment)
        elif block.is_answer and self._wrapped:
            block.answer += fragment
        elif block.is_answer:
            self._writer.text(fragment)

    def _cite(self, block: _Block, citations: Any) -> None:
        if isinstance(citations, list):
            block.citations += [item for item in citations if isinstance(item, dict)]

    def _close(self, block: _Block) -> None:
        if block.kind == "tool_use":
            self._close_call(block)
        elif block.kind == "text" and block.rewriter is not None:
            self._say(block, block.rewriter.rest())
        elif block.kind == "thinking" and block.signature:
            self._sign({"type": "thinking", "thinking": block.text, "signature": block.signature})
        elif block.kind == "redacted_thinking" and _string(block.given.get("data")):
            self._sign({"type": "redacted_thinking", "data": block.given["data"]})
        if block.citations:
            self._annotate(block)

    def _close_call(self, block: _Block) -> None:
        if not block.text:
            given = block.given.get("input")
            self._arguments(block, given if isinstance(given, str) and given else _json(_object(given)))
        if block.rewriter is not None:
            self._give(block, block.rewriter.rest())
        if block.is_answer and self._wrapped:
            self._writer.text(unwrapped(block.answer))

    def _sign(self, block: dict[str, Any]) -> None:
        self._writer.extra("reasoning_details", [signed_entry(block, self._signed)])
        self._signed += 1

    def _keep_blocks(self) -> None:
        """Hand out the blocks as they came, for a client that sends them back, and keep them for one that does not."""
        order = [block for block in self._order if block.signature or block.kind != "thinking"]
        kinds = [block.kind for block in order]
        if is_plain(kinds) or any(block.kind == "tool_use" and block.place is None for block in order):
            return  # nothing is signed, or the forced tool's call is content for the client
        said = self._writer.said()
        blocks = [native for block in order if (native := _native(block, said)) is not None]
        whole = len(blocks) == len(order)
        if needs_places(kinds):
            self._writer.extra("reasoning_details", [places_detail(blocks if whole else [], self._signed)])
        if self._calls and whole:
            self._keep(self._writer.calls(), blocks)

    def _annotate(self, block: _Block) -> None:
        """Web pages that a text rests on, in OpenAI's form; `index` is for clients that add up a stream."""
        notes = []
        for citation in block.citations:
            if not _string(citation.get("url")):
                continue
            cited = {"start_index": block.began, "end_index": self._characters, "url": citation["url"]}
            cited["title"] = _string(citation.get("title"))
            notes.append({"index": self._annotations, "type": "url_citation", "url_citation": cited})
            self._annotations += 1
        if notes:
            self._writer.extra("annotations", notes)

    def _count(self, usage: Any) -> None:
        """Counts are cumulative: a later one that is smaller, such as a 0, says nothing."""
        grow(self._counts, _flat(_object(usage)), _COUNTS)
        if self._counts:
            self._writer.usage = usage_of(self._counts, self._writer.bounds)

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


def usage_of(counts: Mapping[str, Any], bounds: UsageBounds = UNBOUNDED) -> Usage | None:
    """Anthropic's counts, None where the input or the output is not counted.

    Its `input_tokens` are what was neither read from the cache nor written to it.
    """
    flat = _flat(counts)
    if count(flat.get("input_tokens")) is None or count(flat.get("output_tokens")) is None:
        return None
    plain, read, written, output, thinking = (count(flat.get(name)) or 0 for name in _COUNTS)
    return known(Usage(plain + read + written, output, read, written, thinking), bounds)


def _flat(counts: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**counts, **_object(counts.get(_DETAILS))}


def _native(block: _Block, said: str) -> dict[str, Any] | None:
    """A block as it was; None if it cannot be built again. `said` is the text of all of them."""
    if not block.is_whole:
        return None
    given = dict(block.given)
    if block.kind == "text":
        cited = {"citations": block.citations} if block.citations else {}
        return {"type": "text", "text": said[block.began : block.ended], **cited}
    if block.kind == "thinking":
        signed = {"thinking": block.text, "signature": block.signature}
        return {**given, **signed}
    if block.kind.endswith("tool_use"):
        value = strict_object_of(block.text) if block.text else _object(given.get("input"))
        return None if value is None else {**given, "input": value, **({"id": block.id} if block.id else {})}
    return given


def _rewriter(renaming: Renaming | None) -> MemberRewriter | None:
    return None if renaming is None else MemberRewriter(renaming.back)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""
