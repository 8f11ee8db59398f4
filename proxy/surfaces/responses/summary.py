"""The chat that asks a model for a summary of a conversation.

The conversation is given to the model as one text, so that any model can read it, whatever tools it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.surfaces.responses.parts import objects

TRIGGER = "compaction_trigger"  # the type of the item, the last one, that asks for a summary
_KEPT = ("model", "stream", "stream_options", "prompt_cache_key", "service_tier", "router")
_TASK = (
    "You compact conversations between a user and an assistant. Write a summary that lets the assistant continue "
    "without the conversation: the user's goals and instructions, decisions, facts, names, numbers and code that still "
    "matter, results of tools, and what remains to be done. Copy what must stay exact. Write only the summary."
)
_OMITTED = "[omitted]"  # images and files


def asks_for_summary(item: Any) -> bool:
    """Return whether an item of an input asks for a summary of what precedes it."""
    return isinstance(item, dict) and item.get("type") == TRIGGER


def summary_chat(chat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the chat that asks for a summary of the messages of `chat`."""
    conversation = "\n\n".join(_words(message) for message in objects(chat.get("messages")))
    messages = [{"role": "system", "content": _TASK}, {"role": "user", "content": conversation}]
    return {name: chat[name] for name in _KEPT if name in chat} | {"messages": messages}


def _words(message: Mapping[str, Any]) -> str:
    """Return a message as text."""
    content = message.get("content")
    parts = [content] if isinstance(content, str) else [part.get("text", _OMITTED) for part in objects(content)]
    for call in objects(message.get("tool_calls")):
        function = call.get("function", {})
        parts.append(f"[call of {function.get('name')}] {function.get('arguments')}")
    return f"{str(message.get('role')).capitalize()}: " + "\n".join(str(part) for part in parts)
