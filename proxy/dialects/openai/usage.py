"""Tokens as OpenAI-compatible providers report them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.core.usage import UNBOUNDED, Usage, UsageBounds, count, known

_NO_DETAILS: Mapping[str, Any] = {}
_OTHER_CACHED = frozenset({"input_tokens_details", "prompt_cache_hit_tokens"})


def usage_of(value: Any, bounds: UsageBounds = UNBOUNDED) -> Usage | None:
    """Read a `usage` object within `bounds`; `None` if it counts nothing.

    DeepSeek names its cached tokens `prompt_cache_hit_tokens`; images and audio have `input_tokens` and
    `output_tokens`.
    """
    if not isinstance(value, dict):
        return None
    read = value["prompt_tokens"] if "prompt_tokens" in value else value.get("input_tokens")
    written = value["completion_tokens"] if "completion_tokens" in value else value.get("output_tokens")
    total = value.get("total_tokens")
    if not type(read) is type(written) is type(total) is int:
        read, written, total = count(read), count(written), count(total)
        if read is None:
            return None
        if written is None and total is not None:
            written = max(0, total - read)
        if written is None and ("completion_tokens" in value or "output_tokens" in value):
            return None  # for example null: nothing is known of the answer
    prompt, completion = value.get("prompt_tokens_details"), value.get("completion_tokens_details")
    prompt = prompt if isinstance(prompt, dict) else _NO_DETAILS
    completion = completion if isinstance(completion, dict) else _NO_DETAILS
    cached, cache_write = prompt.get("cached_tokens", 0), prompt.get("cache_write_tokens", 0)
    reasoning = completion.get("reasoning_tokens", 0)
    if not type(cached) is type(cache_write) is type(reasoning) is int:
        cached, cache_write, reasoning = count(cached) or 0, count(cache_write) or 0, count(reasoning) or 0
    written = written or 0
    if reasoning > written and total == read + written + reasoning:
        written += reasoning  # xAI counts reasoning beside the answer
    if not cached and not _OTHER_CACHED.isdisjoint(value):
        other = value.get("input_tokens_details")
        cached = count(other.get("cached_tokens")) if isinstance(other, dict) else 0
        cached = cached or count(value.get("prompt_cache_hit_tokens")) or 0
    return known(Usage(read, written, cached, cache_write, reasoning), bounds)
