"""Tokens as Anthropic reports them.

Sources: Anthropic's documentation, "Streaming messages" (usage in `message_delta` is cumulative) and "Prompt caching"
(the whole input is the sum of read, written and other tokens).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.core.usage import OTHER_SERVICE, UNBOUNDED, Usage, UsageBounds, count, grow, known, service_of
from proxy.dialects.anthropic.block import as_object

_MEMBERS = {"fast": "speed", OTHER_SERVICE: "inference_geo"}  # which name a service; others: `service_tier`
_ANYWHERE = ("", "global", "not_available")
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


class Counter:
    """Adds up what the events of one answer report."""

    __slots__ = ("_bounds", "_counts", "_service")

    def __init__(self, bounds: UsageBounds = UNBOUNDED) -> None:
        self._bounds = bounds
        self._counts: dict[str, int] = {}
        self._service = bounds.service  # the one of the request, until the answer names its own

    def add(self, reported: Any) -> Usage | None:
        """Return the usage after another report; `None` if there is none yet."""
        usage = as_object(reported)
        add_counts(self._counts, usage)
        if named := named_service(usage):
            self._service = named
        elif self._service is not None and usage.get(_MEMBERS.get(self._service, "service_tier")) is not None:
            self._service = None  # the request's wish was not granted
        return usage_of(self._counts, self._bounds, self._service) if self._counts else None


def named_service(members: Mapping[str, Any]) -> str | None:
    """Return the service other than the standard one that a request or a usage names.

    Fast mode, priority, and inference in one country have prices of their own.
    """
    place = members.get("inference_geo")
    if isinstance(place, str) and place not in _ANYWHERE:
        return OTHER_SERVICE
    return service_of(members.get("speed")) or service_of(members.get("service_tier"))


def usage_of(counts: Mapping[str, Any], bounds: UsageBounds = UNBOUNDED, service: str | None = None) -> Usage | None:
    """Read Anthropic's counts; `None` if the input or the output is not counted.

    Its `input_tokens` are those that were neither read from the cache nor written to it.
    """
    flat = _flat(counts)
    if count(flat.get("input_tokens")) is None or count(flat.get("output_tokens")) is None:
        return None
    plain, read, written, output, thinking, hour = (count(flat.get(name)) or 0 for name in _COUNTS)
    return known(Usage(plain + read + written, output, read, written, thinking, hour, None, service), bounds)


def _flat(counts: Mapping[str, Any]) -> Mapping[str, Any]:
    flat = dict(counts)
    for name in _DETAILS:
        if name in counts:
            flat.update(as_object(counts[name]))
    return flat
