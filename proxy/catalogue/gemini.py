"""Gemini's models as of 2026-11, for `generateContent` and `embedContent`.

Sources: the vendor's pages on models, thinking and media resolution, read in November 2026.

Gemini 3 has levels of thinking and cannot disable it. Gemini 2.5 has a token budget; its Flash models accept 0. The
budgets are those that the vendor's OpenAI-compatible endpoint uses for the same efforts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.catalogue.entry import Entry, Vendor, by_effort

_MODELS = "https://ai.google.dev/gemini-api/docs/models/"
_PRICES = "https://ai.google.dev/gemini-api/docs/pricing"
_ALL = ("tools", "vision", "json_schema", "audio", "files", "reasoning")

_BUDGETS = {"minimal": 1_024, "low": 1_024, "medium": 8_192, "high": 24_576}


def _thinking(**config: Any) -> Mapping[str, Any]:
    return {"generationConfig": {"thinkingConfig": config}}


def _level(effort: str) -> Mapping[str, Any]:
    return _thinking(thinkingLevel=effort, includeThoughts=True)


def _budget(effort: str) -> Mapping[str, Any]:
    return _thinking(thinkingBudget=_BUDGETS[effort], includeThoughts=True)


_FROM_MINIMAL = by_effort(("minimal", "low", "medium", "high"), _level)
_FROM_LOW = by_effort(("low", "medium", "high"), _level)
_BY_BUDGET = by_effort(tuple(_BUDGETS), _budget)
_NO_BUDGET = _thinking(thinkingBudget=0)

_THIRD = (
    Entry(
        "gemini-3.8-flash",
        source=_MODELS + "gemini-3.8-flash",
        context_window=1_048_576,
        max_output=65_536,
        capabilities=_ALL,
        thinking=_FROM_LOW,
    ),
    Entry(
        "gemini-3.7-flash",
        source=_PRICES,
        capabilities=_ALL,
        thinking=_FROM_LOW,
    ),
    Entry(
        "gemini-3.6-flash",
        source=_MODELS + "gemini-3.6-flash",
        context_window=1_048_576,
        max_output=65_536,
        capabilities=_ALL,
        thinking=_FROM_MINIMAL,
    ),
    Entry(
        "gemini-3.5-flash",  # deprecated; served by 3.6
        source=_MODELS + "gemini-3.5-flash",
        context_window=1_048_576,
        max_output=65_536,
        capabilities=_ALL,
        thinking=_FROM_MINIMAL,
    ),
    Entry(
        "gemini-3.5-flash-lite",
        source=_MODELS + "gemini-3.5-flash-lite",
        context_window=1_048_576,
        max_output=65_536,
        capabilities=_ALL,
        thinking=_FROM_MINIMAL,
    ),
    Entry(
        "gemini-3.1-pro-preview",
        source=_MODELS + "gemini-3.1-pro-preview",
        context_window=1_048_576,
        max_output=65_536,
        capabilities=_ALL,
        thinking=_FROM_LOW,
    ),
    Entry(
        "gemini-3.1-flash-lite",
        source=_MODELS + "gemini-3.1-flash-lite",
        context_window=1_048_576,
        max_output=65_536,
        capabilities=_ALL,
        thinking=_FROM_MINIMAL,
    ),
    Entry(
        "gemini-3-flash-preview",
        source=_MODELS + "gemini-3-flash-preview",
        context_window=1_048_576,
        max_output=65_536,
        capabilities=_ALL,
        thinking=_FROM_MINIMAL,
    ),
)

_ONE_OF_TWO = ("tools+response_format",)  # up to 2.5, both together are rejected

_SECOND = (
    Entry(
        "gemini-2.5-pro",
        source=_MODELS + "gemini-2.5-pro",
        context_window=1_048_576,
        max_output=65_536,
        capabilities=_ALL,
        thinking=_BY_BUDGET,
        unsupported=_ONE_OF_TWO,
    ),
    Entry(
        "gemini-2.5-flash",
        source=_MODELS + "gemini-2.5-flash",
        context_window=1_048_576,
        max_output=65_536,
        capabilities=_ALL,
        thinking=_BY_BUDGET,
        unsupported=_ONE_OF_TWO,
        thinking_off=_NO_BUDGET,
    ),
    Entry(
        "gemini-2.5-flash-lite",
        source=_MODELS + "gemini-2.5-flash-lite",
        context_window=1_048_576,
        max_output=65_536,
        capabilities=_ALL,
        thinking=_BY_BUDGET,
        unsupported=_ONE_OF_TWO,
        thinking_off=_NO_BUDGET,
    ),
)

_EMBEDDINGS = (
    Entry(
        "gemini-embedding-001",
        source="https://ai.google.dev/gemini-api/docs/embeddings",
        kind="embedding",
        context_window=2_048,
    ),
    Entry(
        "gemini-embedding-2",
        source="https://ai.google.dev/gemini-api/docs/embeddings",
        kind="embedding",
        aliases=("gemini-embedding-2-preview",),
    ),
)

GEMINI = Vendor(
    "gemini",
    ("generativelanguage.googleapis.com",),
    "gemini",
    (*_THIRD, *_SECOND, *_EMBEDDINGS),
    prices="google",
    image_tokens=4_128,  # 16 tiles of 258 tokens with Gemini 2; fewer with later models
)
