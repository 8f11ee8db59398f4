"""Tokens as Gemini reports them in `usageMetadata`.

`promptTokenCount` includes tokens from the cache. Results of Google's own tools are counted beside it, and thoughts
beside the candidates' tokens. Source: ai.google.dev/api/generate-content, UsageMetadata.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from proxy.core.usage import UNBOUNDED, Usage, UsageBounds, count, known


class Counts(Struct, rename="camel", frozen=True, gc=False):
    """Counts under their names in `usageMetadata`; 0 if they are not reported."""

    prompt_token_count: int = 0
    tool_use_prompt_token_count: int = 0
    candidates_token_count: int = 0
    thoughts_token_count: int = 0
    cached_content_token_count: int = 0


def counts_of(reported: Any) -> Counts:
    """Read `usageMetadata`."""
    if not isinstance(reported, dict):
        return Counts()
    return Counts(*(count(reported.get(name)) or 0 for name in Counts.__struct_encode_fields__))


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
    )
    return known(usage, bounds)
