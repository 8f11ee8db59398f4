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
    read = count(value["prompt_tokens"] if "prompt_tokens" in value else value.get("input_tokens"))
    written = count(value["completion_tokens"] if "completion_tokens" in value else value.get("output_tokens"))
    if read is None:
        return None
    total = count(value.get("total_tokens"))
    if written is None and total is not None:
        written = max(0, total - read)
    if written is None and ("completion_tokens" in value or "output_tokens" in value):
        return None  # for example null: nothing is known of the answer
    written = written or 0
    prompt, completion = value.get("prompt_tokens_details"), value.get("completion_tokens_details")
    reasoning = _part(completion, "reasoning_tokens")
    if reasoning > written and total == read + written + reasoning:
        written += reasoning  # xAI counts reasoning beside the answer
    cached = _part(prompt, "cached_tokens")
    if not cached:
        cached = _part(value.get("input_tokens_details"), "cached_tokens") or _part(value, "prompt_cache_hit_tokens")
    return known(Usage(read, written, cached, _part(prompt, "cache_write_tokens"), reasoning), bounds)


def _part(value: Any, name: str) -> int:
    found = value.get(name) if isinstance(value, dict) else None
    return count(found) or 0 if found else 0
