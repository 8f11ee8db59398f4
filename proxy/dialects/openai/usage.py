"""Tokens as OpenAI-compatible providers report them."""

from __future__ import annotations

from typing import Any

from proxy.core.usage import UNBOUNDED, Usage, UsageBounds, count, known


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
    written = written or 0
    cached = cache_write = reasoning = 0
    if completion := value.get("completion_tokens_details"):
        reasoning = _part(completion, "reasoning_tokens")
        if reasoning > written and total == read + written + reasoning:
            written += reasoning  # xAI counts reasoning beside the answer
    if prompt := value.get("prompt_tokens_details"):
        cached, cache_write = _part(prompt, "cached_tokens"), _part(prompt, "cache_write_tokens")
    if not cached and ("input_tokens_details" in value or "prompt_cache_hit_tokens" in value):
        cached = _part(value.get("input_tokens_details"), "cached_tokens") or _part(value, "prompt_cache_hit_tokens")
    return known(Usage(read, written, cached, cache_write, reasoning), bounds)


def _part(value: Any, name: str) -> int:
    part = value.get(name) if isinstance(value, dict) else None
    return count(part) or 0 if part else 0
