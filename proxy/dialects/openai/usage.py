"""Tokens as OpenAI-compatible providers report them."""

from __future__ import annotations

from typing import Any

from proxy.core.types import Usage


def usage_of(value: Any) -> Usage | None:
    """Read a `usage` object; None if it is none. DeepSeek names its cached tokens `prompt_cache_hit_tokens`."""
    if not isinstance(value, dict):
        return None
    read, written = _details(value, "prompt_tokens_details"), _details(value, "completion_tokens_details")
    return Usage(
        input=_count(value.get("prompt_tokens")),
        output=_count(value.get("completion_tokens")),
        cached=_count(read.get("cached_tokens")) or _count(value.get("prompt_cache_hit_tokens")),
        cache_write=_count(read.get("cache_write_tokens")),
        reasoning=_count(written.get("reasoning_tokens")),
    )


def _details(value: dict[str, Any], name: str) -> dict[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
