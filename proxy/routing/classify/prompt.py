"""The classifier's input: a bounded head and tail of the last turn's text, and the conversation's shape.

The cut bounds the work for any prompt; the text never leaves the classifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_HEAD = 2_400
_TAIL = 1_200


@dataclass(frozen=True, slots=True)
class Prompt:
    """The features of a conversation that indicate its difficulty."""

    text: str = field(repr=False)  # head and tail of the last user turn
    characters: int  # of the whole turn
    system_characters: int
    turns: int  # of the user
    images: int
    tools: int


def read_prompt(body: Mapping[str, Any]) -> Prompt:
    """Read the prompt from a chat body of any shape, in one pass."""
    messages = body.get("messages")
    last: Any = None
    system = turns = images = 0
    for message in messages if isinstance(messages, list) else ():
        if not isinstance(message, Mapping):
            continue
        role, content = message.get("role"), message.get("content")
        if role == "user":
            turns += 1
            last = content
        elif role in ("system", "developer"):
            system += len(content) if isinstance(content, str) else len(_text(content))
        images += _images(content)
    text = _text(last)
    tools = body.get("tools") or body.get("functions")
    return Prompt(
        text=bounded(text),
        characters=len(text),
        system_characters=system,
        turns=turns,
        images=images,
        tools=len(tools) if isinstance(tools, list) else 0,
    )


def bounded(text: str) -> str:
    """Return a text of bounded length: its head and its tail."""
    return text if len(text) <= _HEAD + _TAIL else f"{text[:_HEAD]}\n{text[-_TAIL:]}"


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    texts = (part.get("text") for part in parts if isinstance(part, Mapping) and part.get("type") == "text")
    return "\n".join(text for text in texts if isinstance(text, str))


def _images(content: Any) -> int:
    if not isinstance(content, list):
        return 0
    return sum(1 for part in content if isinstance(part, Mapping) and part.get("type") == "image_url")
