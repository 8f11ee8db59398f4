"""Moves images and files of `tool` messages into a message of the user: OpenAI's API accepts only text in tool outputs.

Clients of other formats may return images from tools. The message of the user follows the last `tool` message in a row.
Source: OpenAI's API reference, "Create chat completion" (tool message: `content`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Message = dict[str, Any]

MOVED = "The output is in the message that follows."  # the content of a `tool` message without a text
_TEXTS = ("text", "refusal")


def with_moved_media(messages: Any) -> list[Message] | None:
    """Return the messages of a chat with media only where they are accepted; `None` if nothing has to be moved."""
    if not isinstance(messages, list) or not any(map(_has_media, messages)):
        return None
    out: list[Message] = []
    parts: list[Message] = []
    for message in messages:
        is_tool = message.get("role") == "tool"
        if parts and not is_tool:
            out.append({"role": "user", "content": parts})
            parts = []
        if not _has_media(message):
            out.append(message)
            continue
        text, media = _parted(message["content"])
        out.append({**message, "content": text or MOVED})
        parts += [{"type": "text", "text": f"Output of the tool call `{message.get('tool_call_id')}`:"}, *media]
    return [*out, {"role": "user", "content": parts}] if parts else out


def _has_media(message: Any) -> bool:
    content = message.get("content") if isinstance(message, dict) and message.get("role") == "tool" else None
    return isinstance(content, list) and any(_is_media(part) for part in content)


def _is_media(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") not in _TEXTS


def _parted(content: Sequence[Any]) -> tuple[str, list[Message]]:
    """Return the texts of a content, one a line, and its other parts."""
    texts = [part if isinstance(part, str) else part.get(part["type"]) for part in content if not _is_media(part)]
    return "\n".join(text for text in texts if isinstance(text, str)), [part for part in content if _is_media(part)]
