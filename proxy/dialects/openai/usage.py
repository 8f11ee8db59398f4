"""Tokens as OpenAI-compatible providers report them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.core.usage import UNBOUNDED, Media, Usage, UsageBounds, count, known, media_of, service_of

_NO_DETAILS: Mapping[str, Any] = {}
_OTHER_DETAILS = frozenset({"input_tokens_details", "input_token_details", "prompt_cache_hit_tokens"})


def usage_of(value: Any, bounds: UsageBounds = UNBOUNDED, service: Any = None) -> Usage | None:
    """Read a `usage` object within `bounds`; `None` if it counts nothing. `service` is the answer's `service_tier`.

    An answer that names no service tier has the one that its request asks for.

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
    if not _OTHER_DETAILS.isdisjoint(value):
        media = _media_of_endpoint(value, written)
        cached = cached or _other_cached(value)
    else:
        media = _media(prompt, completion)
    service = bounds.service if service is None else None if service == "default" else service_of(service)
    return known(Usage(read, written, cached, cache_write, reasoning, 0, media, service), bounds)


def _other_cached(value: Mapping[str, Any]) -> int:
    cached = count(_object(value, "input_tokens_details").get("cached_tokens"))
    return cached or count(value.get("prompt_cache_hit_tokens")) or 0


def _media_of_endpoint(value: Mapping[str, Any], written: int) -> Media | None:
    """Read the tokens of images and audio in the usage of their endpoints.

    Without details of the output, an answer to a request for images consists of images.
    """
    read = _object(value, "input_tokens_details") or _object(value, "input_token_details")
    output = _object(value, "output_tokens_details")
    if "image_tokens" in read and not output:
        output = {"image_tokens": written}
    return _media(read, output)


def _media(read: Mapping[str, Any], written: Mapping[str, Any]) -> Media | None:
    inputs = read.get("audio_tokens") or read.get("image_tokens")
    if not (inputs or written.get("audio_tokens") or written.get("image_tokens")):
        return None
    cached = _object(read, "cached_tokens_details")
    numbers = (
        read.get("audio_tokens"),
        cached.get("audio_tokens"),
        written.get("audio_tokens"),
        read.get("image_tokens"),
        cached.get("image_tokens"),
        written.get("image_tokens"),
    )
    return media_of(Media(*(count(number) or 0 for number in numbers)))


def _object(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    inner = value.get(name)
    return inner if isinstance(inner, dict) else _NO_DETAILS
