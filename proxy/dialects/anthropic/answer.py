"""Translator of Anthropic's messages, event by event, into an OpenAI answer.

A non-streamed message is converted into the equivalent events, so that both forms give the same answer. Unknown
events, blocks and members are ignored. Server tools run at Anthropic, so they are not calls for the client. Sources:
Anthropic's documentation, "Streaming messages", "Handling stop reasons", "Citations".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from proxy.dialects.answer_tool import Structure, unwrapped
from proxy.dialects.anthropic.block import OpenBlock, as_object
from proxy.dialects.anthropic.replay import is_plain, needs_places, places_detail, signed_entry
from proxy.dialects.anthropic.typed import BlockDelta
from proxy.dialects.anthropic.usage import Counter
from proxy.dialects.memory import ToolCall
from proxy.dialects.names import Renaming, ToolNames
from proxy.dialects.rewriter import MemberRewriter
from proxy.dialects.writer import AnswerWriter, generated_id

Keep = Callable[[list[ToolCall], list[dict[str, Any]]], None]  # an answer's calls, and its original blocks

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class Answer:
    """One message while it is read.

    `finished`: the stop reason was read; `close` writes it, because content may follow it. `reopened`: content
    followed it, so the message may be truncated if the bytes end now. `ended`: the message is complete.
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
        self._beside: list[str] = []  # text beside the forced tool's call; it would make the content invalid JSON
        self._keep = keep
        self._blocks: dict[int, OpenBlock] = {}
        self._order: list[OpenBlock] = []
        self._signed = 0
        self._calls: list[OpenBlock] = []
        self._answered = False
        self._explanation = ""  # of a refusal
        self._characters = 0
        self._annotations = 0
        self._counter = Counter(writer.bounds)
        self._has_model = False  # the upstream has sent the model's name

    def read(self, event: Mapping[str, Any]) -> None:
        """Read one event; odd values are ignored."""
        if self.ended:
            return
        reader = self._READERS.get(str(event.get("type")))
        if reader is not None:
            reader(self, event)

    def _start(self, event: Mapping[str, Any]) -> None:
        message = as_object(event.get("message"))
        if _string(message.get("model")) and not self._has_model:
            self._has_model = True
            self._writer.identify(model=message["model"])
        self._count(message.get("usage"))

    def add(self, event: BlockDelta) -> None:
        """Read a piece of a block."""
        block = self._blocks.get(event.index)
        if block is None:
            return
        self.reopened = self.finished
        delta = event.delta
        if delta.text:
            self._text(block, delta.text)
        if delta.thinking:
            self._thinking(block, delta.thinking)
        if delta.partial_json:
            self._arguments(block, delta.partial_json)
        block.is_whole = block.is_whole and block.takes(delta.type)

    def _block_start(self, event: Mapping[str, Any]) -> None:
        opening, index = as_object(event.get("content_block")), event.get("index")
        if not isinstance(index, int):
            return
        self.reopened = self.finished
        block = OpenBlock(_string(opening.get("type")), opening, began=self._characters)
        self._blocks[index] = block
        self._order.append(block)
        if block.kind == "tool_use":
            self._call(block)
        elif block.kind == "text" and self._tool is None:
            block.rewriter = _rewriter(self._renaming)
        self._text(block, _string(opening.get("text")))
        self._thinking(block, _string(opening.get("thinking")))
        block.signature = _string(opening.get("signature"))
        self._cite(block, opening.get("citations"))

    def _block_delta(self, event: Mapping[str, Any]) -> None:
        index = event.get("index")
        block = self._blocks.get(index) if isinstance(index, int) else None
        if block is None:
            return
        self.reopened = self.finished
        delta = as_object(event.get("delta"))
        self._text(block, _string(delta.get("text")))
        self._thinking(block, _string(delta.get("thinking")))
        self._arguments(block, _string(delta.get("partial_json")))
        block.signature += _string(delta.get("signature"))
        self._cite(block, [delta.get("citation")])
        block.is_whole = block.is_whole and block.takes(delta.get("type"))

    def _block_stop(self, event: Mapping[str, Any]) -> None:
        index = event.get("index")
        block = self._blocks.pop(index, None) if isinstance(index, int) else None
        if block is not None:
            self._close(block)

    def _message_delta(self, event: Mapping[str, Any]) -> None:
        self._count(event.get("usage"))
        delta = as_object(event.get("delta"))
        reason = delta.get("stop_reason")
        if not isinstance(reason, str) or not reason:
            return
        self.native_finish = reason
        self.finished, self.reopened = True, False
        if reason == "refusal":
            self._explanation = _string(as_object(delta.get("stop_details")).get("explanation"))

    def _stop(self, event: Mapping[str, Any]) -> None:
        if self.finished:
            self.close()

    def close(self) -> None:
        """Write the end: open blocks and the finish. Needs a stop reason."""
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
        """OpenAI's finish reason: `tool_calls` instead of `stop` if there are calls for the client."""
        word = _FINISH.get(reason, "stop")
        if word in ("stop", "tool_calls"):
            return "tool_calls" if self._calls else "stop"
        return word

    def _call(self, block: OpenBlock) -> None:
        name = _string(block.opening.get("name"))
        if self._tool is not None and name == self._tool:
            block.is_answer = not self._answered  # a second one would make the content invalid JSON
            self._answered = True
            block.rewriter = _rewriter(self._renaming)
            return
        if self._names is not None:
            name = self._names.back(name)
            block.rewriter = _rewriter(self._names.renaming(name))
        block.place = len(self._calls)
        block.id = _string(block.opening.get("id"))
        if not block.id or block.id in [call.id for call in self._calls]:
            block.id = generated_id(self._writer, block.place)
        self._calls.append(block)
        self._writer.tool_call(block.place, block.id, name)

    def _text(self, block: OpenBlock, text: str) -> None:
        if block.kind != "text" or not text:
            return
        if self._tool is not None:
            self._beside.append(text)
            block.is_whole = False
            return
        if block.rewriter is not None:
            text = block.rewriter.feed(text)
        self._add_text(block, text)

    def _add_text(self, block: OpenBlock, text: str) -> None:
        self._characters += len(text)
        block.ended = self._characters
        self._writer.text(text)

    def _thinking(self, block: OpenBlock, text: str) -> None:
        if block.kind == "thinking" and text:
            block.pieces.append(text)
            self._writer.reasoning(text)

    def _arguments(self, block: OpenBlock, fragment: str) -> None:
        if not fragment:
            return
        block.pieces.append(fragment)
        if block.kind == "tool_use":
            self._give(block, fragment if block.rewriter is None else block.rewriter.feed(fragment))

    def _give(self, block: OpenBlock, fragment: str) -> None:
        """Write a piece of a call's arguments, with the client's names."""
        if block.place is not None:
            self._writer.arguments(block.place, fragment)
        elif block.is_answer and self._wrapped:
            block.answer.append(fragment)
        elif block.is_answer:
            self._writer.text(fragment)

    def _cite(self, block: OpenBlock, citations: Any) -> None:
        if isinstance(citations, list):
            block.citations += [item for item in citations if isinstance(item, dict)]

    def _close(self, block: OpenBlock) -> None:
        if block.kind == "tool_use":
            self._close_call(block)
        elif block.kind == "text" and block.rewriter is not None:
            self._add_text(block, block.rewriter.rest())
        elif block.kind == "thinking" and block.signature:
            self._sign({"type": "thinking", "thinking": block.text, "signature": block.signature})
        elif block.kind == "redacted_thinking" and _string(block.opening.get("data")):
            self._sign({"type": "redacted_thinking", "data": block.opening["data"]})
        elif block.kind == "web_search_tool_result":
            self._search(block.opening)
        if block.citations:
            self._annotate(block)

    def _search(self, result: Mapping[str, Any]) -> None:
        """Write a web search that Anthropic has made."""
        for block in self._order:
            if block.kind == "server_tool_use" and block.opening.get("id") == result.get("tool_use_id"):
                query = as_object(block.native("")).get("input", {}).get("query")
                found = result.get("content")  # an object with an error, if the search failed
                pages = [_string(as_object(page).get("url")) for page in found] if isinstance(found, list) else None
                self._writer.search([query] if isinstance(query, str) else [], pages)

    def _close_call(self, block: OpenBlock) -> None:
        if not block.pieces:
            arguments = block.opening.get("input")
            self._arguments(block, _string(arguments) or _json(as_object(arguments)))
        if block.rewriter is not None:
            self._give(block, block.rewriter.rest())
        if block.is_answer and self._wrapped:
            self._writer.text(unwrapped("".join(block.answer)))

    def _sign(self, block: dict[str, Any]) -> None:
        self._writer.extra("reasoning_details", [signed_entry(block, self._signed)])
        self._signed += 1

    def _keep_blocks(self) -> None:
        """Write the original blocks, for clients that send them back, and store them for clients that do not."""
        order = [block for block in self._order if block.signature or block.kind != "thinking"]
        kinds = [block.kind for block in order]
        if is_plain(kinds) or any(block.kind == "tool_use" and block.place is None for block in order):
            return  # no block is signed, or the forced tool's call is content for the client
        content = self._writer.text_of()
        blocks = [native for block in order if (native := block.native(content)) is not None]
        whole = len(blocks) == len(order)
        if needs_places(kinds):
            self._writer.extra("reasoning_details", [places_detail(blocks if whole else [], self._signed)])
        if self._calls and whole:
            self._keep(self._writer.calls(), blocks)

    def _annotate(self, block: OpenBlock) -> None:
        """Write the web pages that a text cites, in OpenAI's form; `index` is for clients that merge a stream."""
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
        self._writer.usage = self._counter.add(usage)

    _READERS = {
        "message_start": _start,
        "content_block_start": _block_start,
        "content_block_delta": _block_delta,
        "content_block_stop": _block_stop,
        "message_delta": _message_delta,
        "message_stop": _stop,
    }


def events_of(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the events that are equivalent to a whole message."""
    yield {"type": "message_start", "message": message}
    content = message.get("content")
    for index, block in enumerate(content if isinstance(content, list) else []):
        yield {"type": "content_block_start", "index": index, "content_block": block}
        yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": message, "usage": message.get("usage")}
    yield {"type": "message_stop"}


def _rewriter(renaming: Renaming | None) -> MemberRewriter | None:
    return None if renaming is None else MemberRewriter(renaming.back)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""
