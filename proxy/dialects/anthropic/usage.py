"""Tokens as Anthropic reports them.

Sources: Anthropic's documentation, "Streaming messages" (usage in `message_delta` is cumulative) and "Prompt caching"
(the whole input is the sum of read, written and other tokens).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.core.usage import UNBOUNDED, Usage, UsageBounds, count, grow, known
from proxy.dialects.anthropic.block import as_object

_DETAILS = ("output_tokens_details", "cache_creation")
_COUNTS = (
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens",
    "thinking_tokens",  # among the details
    "ephemeral_1h_input_tokens",  # the part of the written tokens that lasts an hour
)


def add_counts(counts: dict[str, int], usage: Any) -> None:
    """Raise `counts` to what `usage` reports: a later count that is smaller, such as 0, means nothing."""
    grow(counts, _flat(as_object(usage)), _COUNTS)


def usage_of(counts: Mapping[str, Any], bounds: UsageBounds = UNBOUNDED) -> Usage | None:
    """Read Anthropic's counts; `None` if the input or the output is not counted.

    Its `input_tokens` are those that were neither read from the cache nor written to it.
    """
    flat = _flat(counts)
    if count(flat.get("input_tokens")) is None or count(flat.get("output_tokens")) is None:
        return None
    plain, read, written, output, thinking, hour = (count(flat.get(name)) or 0 for name in _COUNTS)
    return known(Usage(plain + read + written, output, read, written, thinking, hour), bounds)


def _flat(counts: Mapping[str, Any]) -> Mapping[str, Any]:
    flat = dict(counts)
    for name in _DETAILS:
        if name in counts:
            flat.update(as_object(counts[name]))
    return flat
