"""The items of an answer while they are written: messages, reasoning, tool calls, web searches, and images.

An item writes its own events: `response.output_item.added` when it is created, its deltas, and
`response.output_item.done` when it is closed. `value` is the item as it is at that moment.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

from proxy.core.json_text import strict_object_of
from proxy.surfaces.responses.custom_input import CustomInput
from proxy.surfaces.responses.events import EventWriter, Template, template
from proxy.surfaces.responses.tools import Tool

Status = Literal["in_progress", "completed", "incomplete", "failed"]


class Item(ABC):
    """One item of the answer. `closed`: its last event has been written."""

    __slots__ = ("_events", "closed", "id", "index", "status")

    def __init__(self, events: EventWriter, index: int, id: str) -> None:
        self.id = id
        self.index = index  # in the list of items
        self.status: Status = "in_progress"
        self.closed = False
        self._events = events

    @abstractmethod
    def value(self) -> dict[str, Any]:
        """Return the item as it is now."""

    @abstractmethod
    def _end(self) -> None:
        """Write the events that end the item's parts."""

    def close(self, status: Status = "completed") -> None:
        """Write the item's last events; only the first call has an effect."""
        if not self.closed:
            self.status = status
            self.closed = True
            self._end()
            self._events.event("response.output_item.done", {"output_index": self.index, "item": self.value()})

    def _add(self) -> None:
        self._events.event("response.output_item.added", {"output_index": self.index, "item": self.value()})

    def _place(self, **members: Any) -> dict[str, Any]:
        return {"item_id": self.id, "output_index": self.index, **members}


class MessageItem(Item):
    """A message: parts of text and refusals, one after another."""

    __slots__ = ("_logprobs", "_parts", "_pieces", "_template", "kind")

    def __init__(self, events: EventWriter, index: int, id: str) -> None:
        super().__init__(events, index, id)
        self.kind = ""  # of the part that is open
        self._parts: list[dict[str, Any]] = []
        self._pieces: list[str] = []  # of its text
        self._logprobs: list[dict[str, Any]] = []  # of text that has not been written yet
        self._template: Template = (b"", b"", b"")
        self._add()

    def value(self) -> dict[str, Any]:
        content = [dict(part) for part in self._parts]
        if content and self._pieces:
            content[-1][_MEMBER[self.kind]] = "".join(self._pieces)
        return {"id": self.id, "type": "message", "status": self.status, "role": "assistant", "content": content}

    def begin(self, kind: Literal["output_text", "refusal"]) -> None:
        """Begin a part."""
        self._end()
        self.kind = kind
        part: dict[str, Any] = {"type": kind, _MEMBER[kind]: ""}
        if kind == "output_text":
            part |= {"annotations": [], "logprobs": []}
        place = self._place(content_index=len(self._parts))
        self._parts.append(part)
        self._events.event("response.content_part.added", {**place, "part": part})
        if kind == "output_text":
            self._template = template("response.output_text.delta", place, {"logprobs": []})
        else:
            self._template = template("response.refusal.delta", place)

    def text(self, text: str) -> None:
        """Add to the open part."""
        self._pieces.append(text)
        if self._logprobs:
            place = self._place(content_index=len(self._parts) - 1)
            self._events.event("response.output_text.delta", {**place, "delta": text, "logprobs": self._logprobs})
            self._logprobs = []
        else:
            self._events.delta(self._template, text)

    def logprobs(self, tokens: list[dict[str, Any]]) -> None:
        """Add log probabilities, which go out with the next text."""
        self._parts[-1]["logprobs"] += tokens
        self._logprobs += tokens

    def annotate(self, annotation: dict[str, Any]) -> None:
        """Add an annotation to the open part of text."""
        notes = self._parts[-1]["annotations"]
        place = self._place(content_index=len(self._parts) - 1, annotation_index=len(notes))
        notes.append(annotation)
        self._events.event("response.output_text.annotation.added", {**place, "annotation": annotation})

    def _end(self) -> None:
        if not self.kind:
            return
        part, place = self._parts[-1], self._place(content_index=len(self._parts) - 1)
        member = _MEMBER[self.kind]
        part[member] = "".join(self._pieces)
        self._pieces = []
        logprobs = {"logprobs": part["logprobs"]} if self.kind == "output_text" else {}
        self._events.event(f"response.{self.kind}.done", {**place, member: part[member], **logprobs})
        self._events.event("response.content_part.done", {**place, "part": part})
        self.kind = ""


class ReasoningItem(Item):
    """Reasoning: a summary, and what the next turn must send back, sealed in `encrypted_content`."""

    __slots__ = ("_pieces", "_template", "encrypted")

    def __init__(self, events: EventWriter, index: int, id: str, encrypted: str | None = None) -> None:
        super().__init__(events, index, id)
        self.encrypted = encrypted
        self._pieces: list[str] = []
        self._template: Template = (b"", b"", b"")
        self._add()

    def value(self) -> dict[str, Any]:
        summary = [{"type": "summary_text", "text": self.summary}] if self._pieces else []
        item: dict[str, Any] = {"id": self.id, "type": "reasoning", "summary": summary}
        return item if self.encrypted is None else {**item, "encrypted_content": self.encrypted}

    @property
    def summary(self) -> str:
        """The text so far."""
        return "".join(self._pieces)

    def text(self, text: str) -> None:
        """Add to the summary."""
        if not self._pieces:
            place = self._place(summary_index=0)
            part = {"type": "summary_text", "text": ""}
            self._events.event("response.reasoning_summary_part.added", {**place, "part": part})
            self._template = template("response.reasoning_summary_text.delta", place)
        self._pieces.append(text)
        self._events.delta(self._template, text)

    def _end(self) -> None:
        if self._pieces:
            place, text = self._place(summary_index=0), self.summary
            part = {"type": "summary_text", "text": text}
            self._events.event("response.reasoning_summary_text.done", {**place, "text": text})
            self._events.event("response.reasoning_summary_part.done", {**place, "part": part})


class ToolCallItem(Item):
    """A call of a tool. The target knows every tool as a function; the client gets the kind that it declared."""

    __slots__ = ("_call_id", "_fragments", "_input", "_template", "_text", "_tool")

    def __init__(self, events: EventWriter, index: int, id: str, call_id: str, tool: Tool) -> None:
        super().__init__(events, index, id)
        self._call_id = call_id
        self._tool = tool
        self._fragments: list[str] = []  # of the arguments
        self._text: list[str] = []  # of the input of a custom tool
        self._input = CustomInput() if tool.kind == "custom" else None
        self._template: Template | None = None  # `None`: nothing is written before the end
        if tool.kind != "tool_search":
            kind = "function_call_arguments" if self._input is None else "custom_tool_call_input"
            self._template = template(f"response.{kind}.delta", self._place())
        self._add()

    def value(self) -> dict[str, Any]:
        item: dict[str, Any] = {"id": self.id, "type": _TYPES[self._tool.kind], "status": self.status}
        item["call_id"] = self._call_id
        if self._tool.kind == "tool_search":
            return {**item, "execution": "client", "arguments": strict_object_of("".join(self._fragments)) or {}}
        item["name"] = self._tool.name
        if self._tool.namespace is not None:
            item["namespace"] = self._tool.namespace
        if self._input is not None:
            return {**item, "input": "".join(self._text)}
        return {**item, "arguments": "".join(self._fragments)}

    @property
    def is_whole(self) -> bool:
        """Whether the arguments are a whole object."""
        whole = "".join(self._fragments).strip()
        return whole.startswith("{") and whole.endswith("}") and strict_object_of(whole) is not None

    def arguments(self, fragment: str) -> None:
        """Add to the arguments."""
        if self.closed or not fragment:
            return
        self._fragments.append(fragment)
        if self._input is not None:
            self._add_input(self._input.feed(fragment))
        elif self._template is not None:
            self._events.delta(self._template, fragment)

    def _add_input(self, text: str) -> None:
        if text and self._template is not None:
            self._text.append(text)
            self._events.delta(self._template, text)

    def _end(self) -> None:
        if self._input is not None:
            self._add_input(self._input.finish())
            place = self._place(input="".join(self._text))
            self._events.event("response.custom_tool_call_input.done", place)
        elif self._template is not None:
            if not self._fragments and self.status == "completed":
                self._fragments.append("{}")  # a call without parameters
                self._events.delta(self._template, "{}")
            place = self._place(name=self._tool.name, arguments="".join(self._fragments))
            self._events.event("response.function_call_arguments.done", place)


class WebSearchItem(Item):
    """A web search, which the provider has made already."""

    __slots__ = ("_action",)

    def __init__(self, events: EventWriter, index: int, id: str, action: dict[str, Any]) -> None:
        super().__init__(events, index, id)
        self._action = action
        self._add()

    def value(self) -> dict[str, Any]:
        return {"id": self.id, "type": "web_search_call", "status": self.status, "action": self._action}

    def _end(self) -> None:
        states = ("in_progress", "searching", *(("completed",) if self.status == "completed" else ()))
        for state in states:
            self._events.event(f"response.web_search_call.{state}", self._place())


class ImageItem(Item):
    """An image, which is whole from the start."""

    __slots__ = ("_result",)

    def __init__(self, events: EventWriter, index: int, id: str, result: str) -> None:
        super().__init__(events, index, id)
        self._result = result
        self._add()

    def value(self) -> dict[str, Any]:
        result = self._result if self.closed else None
        return {"id": self.id, "type": "image_generation_call", "status": self.status, "result": result}

    def _end(self) -> None:
        self._events.event("response.image_generation_call.completed", self._place())


_MEMBER: Mapping[str, str] = {"output_text": "text", "refusal": "refusal"}
_TYPES: Mapping[str, str] = {
    "function": "function_call",
    "custom": "custom_tool_call",
    "tool_search": "tool_search_call",
}
