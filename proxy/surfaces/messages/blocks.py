"""Writes the content blocks of a message as events, strictly one after another.

A block opens when its first piece comes. The calls of a chat may come interleaved: the first open call is written as
it comes, and what follows it waits until its arguments are complete, at the latest until the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from proxy.core.json_text import compact_nulled, strict_object_of
from proxy.surfaces.messages.facts import CallNames
from proxy.surfaces.messages.rare import citation_blocks

Kind = Literal["text", "thinking", "signature"]  # of what comes in pieces
Block = dict[str, Any]

_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":'
_START = b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,"content_block":%b}\n\n'
_STOP = b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
_DELTAS = {
    "text": (b"text_delta", b"text"),
    "thinking": (b"thinking_delta", b"thinking"),
    "signature": (b"signature_delta", b"signature"),
    "arguments": (b"input_json_delta", b"partial_json"),
    "citation": (b"citations_delta", b"citation"),
}
_OPENINGS = {"text": b'{"type":"text","text":""}', "thinking": b'{"type":"thinking","thinking":"","signature":""}'}


@dataclass(slots=True, eq=False)
class ToolBlock:
    """A tool call. `waiting` are the arguments that have not been written yet."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    checked: int = 0  # pieces of `arguments` when they were last found incomplete

    def is_complete(self) -> bool:
        """Whether the arguments are a whole object."""
        if not self.arguments or len(self.arguments) == self.checked:
            return False
        self.checked = len(self.arguments)
        return self.arguments[-1].rstrip()[-1:] == "}" and strict_object_of("".join(self.arguments)) is not None


class BlockWriter:
    """The blocks of one message. `take` returns the events that are due."""

    def __init__(self, names: CallNames, seal: Callable[[str], str]) -> None:
        """`seal` returns the signature of thinking that the provider has not signed; empty without one."""
        self.calls = 0  # tool calls that were begun
        self._names = names
        self._seal = seal
        self._thought: list[str] = []  # the text of the open block of thinking
        self._out: list[bytes] = []
        self._index = -1  # of the block that was opened last
        self._open: Kind | ToolBlock | Literal["whole"] | None = None
        self._texts: list[str] = []  # of the answer
        self._heads: dict[str, bytes] = {}  # starts of the deltas of the open block
        self._queue: list[tuple[Kind, list[str]] | ToolBlock | Block] = []  # written when the open call is complete

    def take(self) -> bytes:
        """Return the events since the last time."""
        out = b"".join(self._out)
        self._out.clear()
        return out

    def text(self, text: str) -> None:
        """A piece of the answer's text."""
        self._texts.append(text)
        if self._open == "text":
            self._delta("text", text)
        else:
            self._add("text", text)

    def thinking(self, text: str) -> None:
        """A piece of the model's thinking."""
        if self._open == "thinking":
            self._thought.append(text)
            self._delta("thinking", text)
        else:
            self._add("thinking", text)

    def signature(self, sealed: str) -> None:
        """The signature of the thinking before it, or of a block of its own."""
        self._add("signature", sealed)

    def cite(self, annotations: Any) -> None:
        """Cite the sources of the text, if no other block has followed it."""
        if self._open == "text":
            for citation in citation_blocks(annotations, "".join(self._texts)):
                self._delta("citation", citation)

    def whole(self, block: Block) -> None:
        """A block that does not come in pieces."""
        self._queue.append(block)
        self.advance()

    def call(self, block: ToolBlock) -> None:
        """A tool call begins."""
        self.calls += 1
        self._queue.append(block)
        self.advance()

    def arguments(self, block: ToolBlock, fragment: str) -> None:
        """A piece of a call's arguments."""
        block.arguments.append(fragment)
        if block is self._open:
            self._delta("arguments", fragment)
        else:
            block.waiting.append(fragment)

    def end(self, rest: Callable[[], list[str]]) -> None:
        """The message is complete: write what waits, close the last block, and add the signatures of `rest`."""
        self._close()
        for item in self._queue:
            self._write(item)
            self._close()
        self._queue.clear()
        for sealed in rest():
            self._sign(sealed)

    def advance(self) -> None:
        """Write what waits, up to a call that is incomplete or has no name yet."""
        while self._queue:
            if isinstance(self._open, ToolBlock) and not self._open.is_complete():
                return
            item = self._queue[0]
            if isinstance(item, ToolBlock) and not item.name:
                return
            self._write(self._queue.pop(0))

    def _add(self, kind: Kind, text: str) -> None:
        last = self._queue[-1] if self._queue else None
        if isinstance(last, tuple) and last[0] == kind != "signature":
            last[1].append(text)
        else:
            self._queue.append((kind, [text]))
        self.advance()

    def _write(self, item: tuple[Kind, list[str]] | ToolBlock | Block) -> None:
        if isinstance(item, ToolBlock):
            self._open_call(item)
        elif isinstance(item, dict):
            self._begin(compact_nulled(item))
            self._open = "whole"
        elif item[0] == "signature":
            self._sign(item[1][0])
        else:
            self._switch(item[0])
            if item[0] == "thinking":
                self._thought += item[1]
            self._delta(item[0], "".join(item[1]))

    def _sign(self, sealed: str) -> None:
        self._switch("thinking")
        self._delta("signature", sealed)
        self._thought.clear()
        self._close()

    def _switch(self, kind: Kind) -> None:
        if self._open != kind:
            self._begin(_OPENINGS[kind])
            self._open = kind

    def _open_call(self, block: ToolBlock) -> None:
        id, name = self._names.id(block.id), self._names.name(block.name)
        self._begin(compact_nulled({"type": "tool_use", "id": id, "name": name, "input": {}}))
        self._open = block
        for fragment in block.waiting:
            self._delta("arguments", fragment)
        block.waiting.clear()

    def _begin(self, opening: bytes) -> None:
        self._close()
        self._index += 1
        self._heads.clear()
        self._out.append(_START % (self._index, opening))

    def _close(self) -> None:
        block, self._open = self._open, None
        if block is None:
            return
        if isinstance(block, ToolBlock) and not "".join(block.arguments).strip():
            self._delta("arguments", "{}")
        elif self._thought:
            self._delta("signature", self._seal("".join(self._thought)))
            self._thought.clear()
        self._out.append(_STOP % self._index)

    def _delta(self, kind: str, value: str | Block) -> None:
        if not value:
            return
        head = self._heads.get(kind)
        if head is None:
            head = self._heads[kind] = _DELTA % (self._index, *_DELTAS[kind])
        self._out.append(b"%b%b}}\n\n" % (head, compact_nulled(value)))
