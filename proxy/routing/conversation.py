"""Identifies conversations, so that `auto` can stay with the model whose prompt cache holds them.

Every call of a conversation starts with the same messages; a digest of these, with the caller's tenant, is its key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from proxy.core.call import Call

_READ = 2_000  # characters of each text
_MESSAGES = 8  # that are looked at for the first one of the user
_PARTS = 4


def conversation_key(call: Call) -> bytes | None:
    """Return the key of a chat's conversation; `None` without a message of the user near its start."""
    messages = call.body.get("messages")
    digest = hashlib.blake2b(call.principal.tenant.encode(), digest_size=16)
    for message in messages[:_MESSAGES] if isinstance(messages, list) else ():
        if not isinstance(message, Mapping):
            continue
        role = message.get("role")
        for text in _texts(message.get("content")):
            digest.update(f"\0{role}\0{len(text)}\0{text[:_READ]}".encode("utf-8", "replace"))
        if role == "user":
            return digest.digest()
    return None


def continues(call: Call) -> bool:
    """Return whether the call continues a conversation: there is an answer among its messages."""
    messages = call.body.get("messages")
    recent = messages[-_MESSAGES:] if isinstance(messages, list) else ()
    return any(isinstance(message, Mapping) and message.get("role") == "assistant" for message in recent)


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    parts = content[:_PARTS] if isinstance(content, list) else ()
    texts = [part.get("text") for part in parts if isinstance(part, Mapping)]
    return [text for text in texts if isinstance(text, str)]
