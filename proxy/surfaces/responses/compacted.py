"""The answer of a call that asks for a summary: one item of type `compaction`, with the summary sealed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.core.errors import UpstreamError
from proxy.surfaces.responses.answer import Answer
from proxy.surfaces.responses.events import EventWriter
from proxy.surfaces.responses.items import Item, Status
from proxy.surfaces.responses.parts import objects
from proxy.surfaces.responses.sealing import Sealing
from proxy.surfaces.responses.tools import ToolTable


class CompactionItem(Item):
    """A compaction, which is whole from the start."""

    __slots__ = ("_sealed",)

    def __init__(self, events: EventWriter, index: int, id: str, sealed: str) -> None:
        super().__init__(events, index, id)
        self._sealed = sealed
        self._add()

    def value(self) -> dict[str, Any]:
        return {"id": self.id, "type": "compaction", "encrypted_content": self._sealed}

    def _end(self) -> None:
        """There is nothing to end."""


class CompactionAnswer(Answer):
    """The summary; the model's reasoning is not kept."""

    def __init__(self, events: EventWriter, stem: str, tools: ToolTable, sealing: Sealing) -> None:
        super().__init__(events, stem, tools, sealing)
        self._summary: list[str] = []

    def add(self, delta: Mapping[str, Any], logprobs: Any = None) -> None:
        """Take a delta, or a whole message."""
        content = delta.get("content")
        texts = [content] if isinstance(content, str) else [part.get("text") for part in objects(content)]
        self._summary += [text for text in texts if isinstance(text, str)]

    def ensure_message(self) -> None:
        """Add nothing: a compaction needs a summary."""

    def close(self, status: Status) -> None:
        """Write the item. Raises `UpstreamError` without a summary."""
        if self.items:
            return
        summary = "".join(self._summary)
        if not summary.strip():
            raise UpstreamError("The model wrote no summary of the conversation.")
        self._new(CompactionItem, "cmp", self._sealing.of_summary(summary)).close()
