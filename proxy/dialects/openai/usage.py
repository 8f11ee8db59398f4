"""Tokens as OpenAI-compatible providers report them."""

from __future__ import annotations

from typing import Any

from proxy.core.usage import UNBOUNDED, Usage, UsageBounds, count, known


def usage_of(value: Any, bounds: UsageBounds = UNBOUNDED) -> Usage | None:
    """Read a `usage` object within `bounds`; None if it counts nothing.

    DeepSeek names its cached tokens `prompt_cache_hit_tokens`; images and audio have `input_tokens` and
    `output_tokens`.
    """
    if not isinstance(value, dict):
        return None
    read = _count(value, "prompt_tokens", "input_tokens")
    written = _count(value, "completion_tokens", "output_tokens")
    total = count(value.get("total_tokens"))
    if read is None:
        return None
    if written is None and total is not None:
        written = max(0, total - read)
    if written is None and ("completion_tokens" in value or "output_tokens" in value):
        return None  # null, say: nothing is known of the answer
    written = written or 0
    reasoning = _detail(value, "completion_tokens_details", "reasoning_tokens")
    if reasoning > written and total == read + written + reasoning:
        written += reasoning  # xAI counts reasoning beside the answer
    usage = Usage(
        input=read,
        output=written,
        cached=_cached(value),
        cache_write=_detail(value, "prompt_tokens_details", "cache_write_tokens"),
        reasoning=reasoning,
    )
    return known(usage, bounds)


def _count(value: dict[str, Any], name: str, other: str) -> int | None:
    return count(value[name]) if name in value else count(value.get(other))


def _cached(value: dict[str, Any]) -> int:
    found = _detail(value, "prompt_tokens_details", "cached_tokens")
    return found or _detail(value, "input_tokens_details", "cached_tokens") or _part(value, "prompt_cache_hit_tokens")


def _detail(value: dict[str, Any], name: str, member: str) -> int:
    found = value.get(name)
    return _part(found, member) if isinstance(found, dict) else 0


def _part(value: dict[str, Any], name: str) -> int:
    return count(value.get(name)) or 0
