"""The requirements of a chat body: tokens, capabilities, length of the answer. Each is read on first use.

A body may contain any JSON. Values of the wrong type are ignored here, because the provider rejects them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from proxy.core.estimate import Count, estimate_input, estimate_tokens

_CAPABILITY_OF_PART = {"image_url": "vision", "input_audio": "audio", "file": "files"}
_MAX_TOKENS = 1_000_000_000  # clients may send any number; larger ones are cut to this
_MAX_CHOICES = 128


class Facts:
    """The requirements of one call, independent of its route."""

    def __init__(self, body: Mapping[str, Any], count: Count = estimate_tokens, *, soft_limit: bool = False) -> None:
        """`soft_limit`: targets with shorter answers get a smaller limit (`upstream/fit.py`)."""
        self.soft_limit = soft_limit
        self._body = body
        self._count = count

    @cached_property
    def input_tokens(self) -> int:
        """The estimated tokens of the prompt, in one pass over the messages."""
        return estimate_input(self._body, self._count)

    @cached_property
    def max_tokens(self) -> int | None:
        """The longest answer that the client requests."""
        limit = positive(self._body.get("max_completion_tokens")) or positive(self._body.get("max_tokens"))
        return min(limit, _MAX_TOKENS) if limit else None

    @cached_property
    def choices(self) -> int:
        """The number of answers."""
        return min(positive(self._body.get("n")) or 1, _MAX_CHOICES)

    @cached_property
    def capabilities(self) -> frozenset[str]:
        """The capabilities that the body needs, in one pass over the messages."""
        return frozenset(_capabilities(self._body))

    @property
    def sets_effort(self) -> bool:
        """Whether the client sets the reasoning effort."""
        return self._body.get("reasoning_effort") is not None or self._body.get("thinking") is not None


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
            if isinstance(kind, str) and kind in _CAPABILITY_OF_PART:
                needs.add(_CAPABILITY_OF_PART[kind])
    if body.get("tools") or body.get("functions"):
        needs.add("tools")
    form = body.get("response_format")
    if isinstance(form, Mapping) and form.get("type") == "json_schema":
        needs.add("json_schema")
    modalities = body.get("modalities")
    if isinstance(modalities, list) and "audio" in modalities:
        needs.add("audio")
    return needs
