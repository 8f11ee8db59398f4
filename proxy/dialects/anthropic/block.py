"""A content block of an Anthropic message while it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.core.json_text import strict_object_of
from proxy.dialects.rewriter import MemberRewriter

_DELTAS = {  # the deltas that make up a block of each kind; the default is that of tools
    "text": ("text_delta", "citations_delta"),
    "thinking": ("thinking_delta", "signature_delta"),
    "tool_use": ("input_json_delta",),
}


@dataclass(slots=True)
class OpenBlock:
    """One block. Its `place`, `id`, `began` and `ended` are those in the client's answer."""

    kind: str
    opening: Mapping[str, Any]  # the block in `content_block_start`
    pieces: list[str] = field(default_factory=list)  # of thinking, or of arguments
    signature: str = ""
    place: int | None = None  # of a tool call among the client's
    is_answer: bool = False  # the forced tool's call: its arguments are the content
    answer: list[str] = field(default_factory=list)  # pieces of these arguments, if they wrap the content
    id: str = ""  # of a tool call
    began: int = 0  # characters of content before it
    ended: int = 0  # characters of content with it
    citations: list[Mapping[str, Any]] = field(default_factory=list)
    is_whole: bool = True  # `native` can rebuild it
    rewriter: MemberRewriter | None = None  # restores the names of members

    @property
    def text(self) -> str:
        """The thinking, or the arguments, so far."""
        return "".join(self.pieces)

    def takes(self, delta: object) -> bool:
        """Whether this kind of block accepts a delta of this type."""
        return delta in _DELTAS.get(self.kind, _DELTAS["tool_use"])

    def native(self, content: str) -> dict[str, Any] | None:
        """Return the original block; `None` if it cannot be rebuilt. `content` is the text of all blocks."""
        if not self.is_whole:
            return None
        opening = dict(self.opening)
        if self.kind == "text":
            cited = {"citations": self.citations} if self.citations else {}
            return {"type": "text", "text": content[self.began : self.ended], **cited}
        if self.kind == "thinking":
            return {**opening, "thinking": self.text, "signature": self.signature}
        if self.kind.endswith("tool_use"):
            value = strict_object_of(self.text) if self.pieces else as_object(opening.get("input"))
            return None if value is None else {**opening, "input": value, **({"id": self.id} if self.id else {})}
        return opening


def as_object(value: Any) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}
