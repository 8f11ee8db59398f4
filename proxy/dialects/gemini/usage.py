"""Tokens as Gemini reports them in `usageMetadata`.

`promptTokenCount` includes tokens from the cache. Results of Google's own tools are counted beside it, and thoughts
beside the candidates' tokens. Source: ai.google.dev/api/generate-content, UsageMetadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from proxy.core.usage import UNBOUNDED, Media, Usage, UsageBounds, asking, count, known, media_of, service_of

_AUDIO = ("AUDIO",)
_IMAGES = ("IMAGE", "VIDEO", "DOCUMENT")


class ModalityCount(Struct, rename="camel", frozen=True, gc=False):
    """The tokens of one kind: `TEXT`, `IMAGE`, `VIDEO`, `AUDIO`, `DOCUMENT`."""

    modality: str = ""
    token_count: int = 0


_Details = tuple[ModalityCount, ...]


class Counts(Struct, rename="camel", frozen=True, gc=False):
    """Counts under their names in `usageMetadata`; 0 if they are not reported."""

    prompt_token_count: int = 0
    tool_use_prompt_token_count: int = 0
    candidates_token_count: int = 0
    thoughts_token_count: int = 0
    cached_content_token_count: int = 0
    prompt_tokens_details: _Details = ()
    cache_tokens_details: _Details = ()
    candidates_tokens_details: _Details = ()
    traffic_type: str = ""
    service_tier: str = ""


_NUMBERS = Counts.__struct_encode_fields__[:5]
_DETAILS = Counts.__struct_encode_fields__[5:8]
_TIERS = Counts.__struct_encode_fields__[8:]
TIER_HEADER = "x-gemini-service-tier"


def counts_of(reported: Any) -> Counts:
    """Read `usageMetadata`."""
    if not isinstance(reported, dict):
        return Counts()
    prompt, tools, candidates, thoughts, cached = (count(reported.get(name)) or 0 for name in _NUMBERS)
    of_prompt, of_cache, of_candidates = (_details(reported.get(name)) for name in _DETAILS)
    traffic, tier = (str(reported.get(name) or "") for name in _TIERS)
    return Counts(prompt, tools, candidates, thoughts, cached, of_prompt, of_cache, of_candidates, traffic, tier)


def asking_for(bounds: UsageBounds, headers: Mapping[str, str], asked: Any) -> UsageBounds:
    """Return the bounds of an answer with the service tier in its headers, else the one that its request asks for."""
    return asking(bounds, _service(headers.get(TIER_HEADER) or asked))


def _service(named: Any) -> str | None:
    """Return a service tier, such as `priority`, `SERVICE_TIER_PRIORITY` or Vertex's `ON_DEMAND_PRIORITY`."""
    if not isinstance(named, str) or named.endswith("UNSPECIFIED"):
        return None
    return service_of(named.lower().removeprefix("service_tier_").removeprefix("on_demand_"))


def _details(reported: Any) -> _Details:
    items = [item for item in reported if isinstance(item, dict)] if isinstance(reported, list) else ()
    return tuple([ModalityCount(str(item.get("modality")), count(item.get("tokenCount")) or 0) for item in items])


def later(before: Counts, after: Counts) -> Counts:
    """The counts after another report: the last one holds, even if it is smaller.

    A report without a prompt only replaces the counts that it has.
    """
    if after.prompt_token_count:
        return after
    names = Counts.__struct_fields__
    return Counts(*(getattr(after, name) or getattr(before, name) for name in names))


def usage_of(counts: Counts, bounds: UsageBounds = UNBOUNDED) -> Usage | None:
    """The usage; `None` if no prompt is counted (some chunks only have the kind of traffic)."""
    if not counts.prompt_token_count:
        return None
    usage = Usage(
        counts.prompt_token_count + counts.tool_use_prompt_token_count,
        counts.candidates_token_count + counts.thoughts_token_count,
        counts.cached_content_token_count,
        0,
        counts.thoughts_token_count,
        0,
        _media(counts),
        _service(named) if (named := counts.service_tier or counts.traffic_type) else bounds.service,
    )
    return known(usage, bounds)


def _media(counts: Counts) -> Media | None:
    """Return the tokens of audio and images; those of videos and documents count as images."""
    details = (counts.prompt_tokens_details, counts.cache_tokens_details, counts.candidates_tokens_details)
    if all(item.modality == "TEXT" for items in details for item in items):
        return None
    read, cached, written = details
    return media_of(
        Media(
            _sum(read, _AUDIO),
            _sum(cached, _AUDIO),
            _sum(written, _AUDIO),
            _sum(read, _IMAGES),
            _sum(cached, _IMAGES),
            _sum(written, _IMAGES),
        )
    )


def _sum(details: _Details, kinds: tuple[str, ...]) -> int:
    return sum(max(0, item.token_count) for item in details if item.modality in kinds)
