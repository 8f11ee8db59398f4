"""Writes a streamed chat as the events of an Anthropic message.

    message_start, (content_block_start, content_block_delta ..., content_block_stop) ..., message_delta, message_stop

A stream that breaks off ends with `event: error`, because clients take an end without one for a success.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.core.call import Call
from proxy.core.errors import ProxyError
from proxy.core.json_text import compact_nulled, object_of
from proxy.core.record import Record
from proxy.core.sse import Events, data_of
from proxy.surfaces.decision import decision_record
from proxy.surfaces.messages.blocks import BlockWriter, ToolBlock
from proxy.surfaces.messages.carry import Seals
from proxy.surfaces.messages.errors import error_event
from proxy.surfaces.messages.facts import CallNames, estimated_usage, message_head, search_seed, stop_reason, usage_of
from proxy.surfaces.messages.plain import plain_delta
from proxy.surfaces.messages.rare import image_blocks, search_blocks, search_usage

_PLAIN = frozenset(("role", "content", "reasoning_content", "refusal"))  # members without signatures
_COMMON = _PLAIN | {"reasoning", "tool_calls", "reasoning_details"}


class MessageStream:
    """The encoder of one stream."""

    def __init__(self, call: Call, record: Record, seals: Seals) -> None:
        self._call = call
        self._record = record
        self._seals = seals
        self._events = Events()
        self._blocks = BlockWriter(CallNames(call), seals.thinking)
        self._calls: dict[int, ToolBlock] = {}  # by their index in the chat
        self._begun = False
        self._finish: Any = None
        self._refused = False
        self._usage: Any = None
        self._annotations: list[Any] = []
        self._searches: list[dict[str, Any]] = []  # blocks

    def feed(self, data: bytes) -> bytes:
        """Return the events for canonical ones; `message_delta` and `message_stop` come from `finish`."""
        head = b""
        for event in self._events.feed(data):
            delta = plain_delta(event) if self._begun else None
            if delta is None:
                head += self._read(event)
                continue
            if delta.reasoning_content:
                self._blocks.thinking(delta.reasoning_content)
            if delta.content:
                self._blocks.text(delta.content)
        return head + self._blocks.take()

    def finish(self) -> bytes:
        """Return the last events."""
        head = self._read(self._events.rest())
        if not self._begun:
            head += self._start(None)
        self._blocks.end(self._seals.rest)
        reason = stop_reason(self._finish, calls=self._blocks.calls > 0, refused=self._refused)
        delta = {"stop_reason": reason, "stop_sequence": None}
        usage = {**usage_of(self._usage, self._record), **search_usage(self._searches)}
        debug = {"router": decision_record(self._record)} if self._call.options.debug else {}
        return b"".join(
            (
                head,
                self._blocks.take(),
                _event("message_delta", {"delta": delta, "usage": usage}),
                _event("message_stop", debug),
            )
        )

    def fail(self, error: ProxyError) -> bytes:
        """Return the error; what waits for its turn is not written."""
        return self._blocks.take() + error_event(error)

    def _read(self, event: bytes) -> bytes:
        """Read one event; return `message_start` for the first."""
        data = data_of(event)
        chunk = object_of(data) if data and data[:1] == b"{" else None
        if chunk is None:
            return b""
        start = b"" if self._begun else self._start(chunk.get("model"))
        if chunk.get("usage"):
            self._usage = chunk["usage"]
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                self._choice(choice)
        return start

    def _start(self, model: Any) -> bytes:
        self._begun = True
        message = {
            **message_head(self._call, self._record, model),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": estimated_usage(self._call, self._record),
        }
        return _event("message_start", {"message": message})

    def _choice(self, choice: Mapping[str, Any]) -> None:
        if choice.get("finish_reason"):
            self._finish = choice["finish_reason"]
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return
        self._reasoning(delta)
        text = delta.get("content")
        if isinstance(text, str) and text:
            self._blocks.text(text)
        self._rest(delta)

    def _reasoning(self, delta: Mapping[str, Any]) -> None:
        """Write thinking, and what is signed, before the text and the calls that it belongs to."""
        text = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(text, str) and text:
            self._blocks.thinking(text)
        if not delta.keys() <= _PLAIN:
            for sealed in self._seals.read(delta):
                self._blocks.signature(sealed)

    def _rest(self, delta: Mapping[str, Any]) -> None:
        refusal = delta.get("refusal")
        if isinstance(refusal, str) and refusal:
            self._refused = True
            self._blocks.text(refusal)
        if not delta.keys() <= _COMMON:
            self._rare(delta)
        calls = delta.get("tool_calls")
        for entry in calls if isinstance(calls, list) else ():
            if isinstance(entry, dict):
                self._tool_call(entry)

    def _rare(self, delta: Mapping[str, Any]) -> None:
        """Write sources, searches and images."""
        notes = delta.get("annotations")
        if isinstance(notes, list):
            self._annotations += notes
            self._blocks.cite(notes)
        if searches := delta.get("web_searches"):
            seed = f"{search_seed(self._call)}{len(self._searches)}x"
            found = search_blocks(searches, self._annotations, seed)
            self._searches += found
            for block in found:
                self._blocks.whole(block)
        for image in image_blocks(delta.get("images")):
            self._blocks.whole(image)

    def _tool_call(self, entry: Mapping[str, Any]) -> None:
        function = entry.get("function")
        function = function if isinstance(function, dict) else {}
        id, name, fragment = entry.get("id"), function.get("name"), function.get("arguments")
        id, name = id if isinstance(id, str) else "", name if isinstance(name, str) else ""
        index = entry.get("index")
        if not isinstance(index, int):
            index = len(self._calls) if id else max(self._calls, default=0)
        block = self._calls.get(index)
        if block is None or (id and name and id != block.id and block.id):  # an upstream that repeats an index
            block = self._calls[index] = ToolBlock(id, name)
            self._blocks.call(block)
        elif not block.name:
            block.id, block.name = block.id or id, name
            self._blocks.advance()
        if isinstance(fragment, str) and fragment:
            self._blocks.arguments(block, fragment)


def _event(name: str, members: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), compact_nulled({"type": name, **members}))
