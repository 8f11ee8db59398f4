"""The requirements of a chat body: tokens, capabilities, length of the answer.

A body may contain any JSON. Values of the wrong type are ignored here, because the provider rejects them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy.core.estimate import Count, estimate_input, estimate_tokens

_NEED_OF_PART = {"image_url": "vision", "input_audio": "audio", "file": "files"}
_MOST_TOKENS = 1_000_000_000  # clients may send any number; larger ones are cut to this
_MOST_CHOICES = 128


@dataclass(frozen=True, slots=True)
class Facts:
    """The requirements of one call, independent of its route."""

    input_tokens: int
    max_tokens: int | None  # as requested by the client
    choices: int
    capabilities: frozenset[str]
    effort: bool = False  # the client sets the reasoning effort


def read_facts(body: Mapping[str, Any], count: Count = estimate_tokens) -> Facts:
    """Read the requirements from a chat body, in one pass over its messages."""
    asked = positive(body.get("max_completion_tokens")) or positive(body.get("max_tokens"))
    return Facts(
        input_tokens=estimate_input(body, count),
        max_tokens=min(asked, _MOST_TOKENS) if asked else None,
        choices=min(positive(body.get("n")) or 1, _MOST_CHOICES),
        capabilities=frozenset(_capabilities(body)),
        effort=body.get("reasoning_effort") is not None or body.get("thinking") is not None,
    )


def positive(value: Any) -> int | None:
    """Return `value` if it is a positive integer, else `None`."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _capabilities(body: Mapping[str, Any]) -> set[str]:
    needs: set[str] = set()
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, Mapping) else None
        for part in content if isinstance(content, list) else ():
            kind = part.get("type") if isinstance(part, Mapping) else None
            if isinstance(kind, str) and kind in _NEED_OF_PART:
                needs.add(_NEED_OF_PART[kind])
    if body.get("tools") or body.get("functions"):
        needs.add("tools")
    form = body.get("response_format")
    if isinstance(form, Mapping) and form.get("type") == "json_schema":
        needs.add("json_schema")
    modalities = body.get("modalities")
    if isinstance(modalities, list) and "audio" in modalities:
        needs.add("audio")
    return needs
