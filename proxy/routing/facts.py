"""What a chat body asks of a model: tokens, capabilities, room for the answer. Reads, never judges.

Any JSON may stand anywhere in a body; what has the wrong shape counts as not said, for it is the
provider that refuses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy.core.estimate import Count, estimate_input, estimate_tokens

_NEED_OF_PART = {"image_url": "vision", "input_audio": "audio", "file": "files"}
_MOST_TOKENS = 1_000_000_000  # a client may write any number; beyond this they are all the same to us
_MOST_CHOICES = 128


@dataclass(frozen=True, slots=True)
class Facts:
    """The needs of one call, whatever route it takes."""

    input_tokens: int
    max_tokens: int | None  # as the client asked
    choices: int
    capabilities: frozenset[str]
    effort: bool = False  # the client says how much to think


def read_facts(body: Mapping[str, Any], count: Count = estimate_tokens) -> Facts:
    """Read the needs from a chat body, in one pass over its messages."""
    asked = positive(body.get("max_completion_tokens")) or positive(body.get("max_tokens"))
    return Facts(
        input_tokens=estimate_input(body, count),
        max_tokens=min(asked, _MOST_TOKENS) if asked else None,
        choices=min(positive(body.get("n")) or 1, _MOST_CHOICES),
        capabilities=frozenset(_capabilities(body)),
        effort=body.get("reasoning_effort") is not None or body.get("thinking") is not None,
    )


def positive(value: Any) -> int | None:
    """`value` if it is a whole number above zero."""
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
