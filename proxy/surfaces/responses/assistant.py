"""One assistant message of a chat, made from the Responses items of one answer: texts, reasoning and calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from proxy.surfaces.carriers import Carried, restore

Message = dict[str, Any]


@dataclass(slots=True)
class Assistant:
    """Adjacent items of the assistant. Chat providers reject them as messages of their own."""

    texts: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    places: list[str] = field(default_factory=list)  # of the calls in the request, such as `input[3]`
    carried: list[Carried] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)  # URLs
    spoken: bool = False  # there is a message, perhaps an empty one

    def message(self) -> Message | None:
        """Return the message; `None` if there is only reasoning, which a chat cannot have alone."""
        if not (self.spoken or self.calls or self.images):
            return None
        # The texts of one answer that was split around its calls are one text; others are paragraphs.
        text = ("" if self.carried else "\n\n").join(self.texts)
        message: Message = {"role": "assistant", "content": text if text or not self.calls else None}
        if self.refusals:
            message["refusal"] = "".join(self.refusals)
        if self.images:
            images = enumerate(self.images)
            message["images"] = [{"type": "image_url", "index": at, "image_url": {"url": url}} for at, url in images]
        if self.reasoning and not self.carried:
            message["reasoning_content"] = "".join(self.reasoning)
        if self.calls:
            message["tool_calls"] = self.calls
        for carried in self.carried:
            restore(message, carried)
        return message

    def call(self, id: str, name: str, arguments: str, place: str) -> None:
        """Add a call of a function."""
        self.places.append(place)
        self.calls.append({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
