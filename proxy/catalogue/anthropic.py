"""Anthropic's models as of 2026-11, for the Messages API.

Sources: the vendor's models overview, model pages, and pages on thinking, effort and vision, read in November 2026, and
recorded exchanges that show which form of `thinking` and `output_config` a model accepts.

There are three generations of thinking. Up to Claude 4.5, thinking has a token budget; the budgets here are our choice
within the vendor's bounds. From 4.6, thinking is adaptive and has an effort; it is off by default up to Opus 4.8. From
the fifth generation it is on by default, and some models cannot disable it. From Opus 4.7, the text of thinking is sent
only on request and sampling parameters are rejected. From 4.6, assistant prefill is rejected.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.catalogue.entry import Entry, Vendor, by_effort

_MODELS = "https://platform.claude.com/docs/en/models/"
_NO_PREFILL = "messages.prefill"
_SAMPLING = ("temperature", "top_p", "top_k", _NO_PREFILL)
_ONE_OF_TWO = ("temperature+top_p",)  # 4.1 to 4.6 reject both together
_ALL = ("tools", "vision", "files", "json_schema", "reasoning")
_PREFILL = (*_ALL, "prefill")

_BUDGETS = {"minimal": 1_024, "low": 2_048, "medium": 8_192, "high": 16_384, "xhigh": 32_000}
_DISABLED = {"thinking": {"type": "disabled"}}


def _budget(effort: str) -> Mapping[str, Any]:
    return {"thinking": {"type": "enabled", "budget_tokens": _BUDGETS[effort]}}


def _adaptive(effort: str) -> Mapping[str, Any]:
    return {"thinking": {"type": "adaptive"}, "output_config": {"effort": effort}}


def _adaptive_shown(effort: str) -> Mapping[str, Any]:
    return {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": effort}}


_BY_BUDGET = by_effort(tuple(_BUDGETS), _budget)
_BY_EFFORT = by_effort(("low", "medium", "high", "max"), _adaptive)
_BY_EFFORT_SHOWN = by_effort(("low", "medium", "high", "xhigh", "max"), _adaptive_shown)

_FIFTH = (
    Entry(
        "claude-fable-5-2",
        source=_MODELS + "overview",
        context_window=1_000_000,
        max_output=128_000,
        capabilities=_ALL,
        unsupported=_SAMPLING,
        thinking=_BY_EFFORT_SHOWN,
    ),
    Entry(
        "claude-fable-5-1",
        source=_MODELS + "fable-5-1/overview",
        context_window=1_000_000,
        max_output=128_000,
        capabilities=_ALL,
        unsupported=_SAMPLING,
        thinking=_BY_EFFORT_SHOWN,
    ),
    Entry(
        "claude-fable-5",
        source=_MODELS + "fable-5/overview",
        context_window=1_000_000,
        max_output=128_000,
        capabilities=_ALL,
        unsupported=_SAMPLING,
        thinking=_BY_EFFORT_SHOWN,
    ),
    Entry(
        "claude-opus-5-5",
        source=_MODELS + "opus-5-5/overview",
        context_window=1_000_000,
        max_output=128_000,
        capabilities=_ALL,
        unsupported=_SAMPLING,
        thinking=_BY_EFFORT_SHOWN,
    ),
    Entry(
        "claude-opus-5",
        source=_MODELS + "opus-5/overview",
        context_window=1_000_000,
        max_output=128_000,
        capabilities=_ALL,
        unsupported=_SAMPLING,
        thinking=_BY_EFFORT_SHOWN,
        thinking_off=_DISABLED,
    ),
    Entry(
        "claude-sonnet-5-5",
        source=_MODELS + "sonnet-5-5/overview",
        context_window=1_000_000,
        max_output=128_000,
        capabilities=_ALL,
        unsupported=_SAMPLING,
        thinking=_BY_EFFORT_SHOWN,
        thinking_off={"thinking": {"type": "between_tools"}},  # the least thinking that this model supports
    ),
    Entry(
        "claude-sonnet-5",
        source=_MODELS + "sonnet-5/overview",
        context_window=1_000_000,
        max_output=128_000,
        capabilities=_ALL,
        unsupported=_SAMPLING,
        thinking=_BY_EFFORT_SHOWN,
        thinking_off=_DISABLED,
    ),
    Entry(
        "claude-haiku-5-5",
        source=_MODELS + "haiku-5-5/overview",
        context_window=1_000_000,
        max_output=128_000,
        capabilities=_ALL,
        unsupported=_SAMPLING,
        thinking=_BY_EFFORT_SHOWN,
        thinking_off=_DISABLED,
    ),
)

_FOURTH = (
    Entry(
        "claude-opus-4-8",
        source=_MODELS + "opus-4-8/overview",
        context_window=1_000_000,
        max_output=128_000,
        capabilities=_ALL,
        unsupported=_SAMPLING,
        thinking=_BY_EFFORT_SHOWN,
        thinking_off={},
    ),
    Entry(
        "claude-opus-4-7",
        source=_MODELS + "opus-4-7/overview",
        context_window=1_000_000,
        max_output=128_000,
        capabilities=_ALL,
        unsupported=_SAMPLING,
        thinking=_BY_EFFORT_SHOWN,
        thinking_off={},
    ),
    Entry(
        "claude-opus-4-6",
        source=_MODELS + "opus-4-6/overview",
        context_window=1_000_000,
        max_output=128_000,
        capabilities=_ALL,
        unsupported=(*_ONE_OF_TWO, _NO_PREFILL),
        thinking=_BY_EFFORT,
        thinking_off={},
    ),
    Entry(
        "claude-sonnet-4-6",
        source=_MODELS + "sonnet-4-6/overview",
        context_window=1_000_000,
        max_output=64_000,
        capabilities=_ALL,
        unsupported=(*_ONE_OF_TWO, _NO_PREFILL),
        thinking=_BY_EFFORT,
        thinking_off={},
    ),
    Entry(
        "claude-opus-4-5",
        source=_MODELS + "opus-4-5/overview",
        context_window=200_000,
        max_output=64_000,
        capabilities=_PREFILL,
        unsupported=_ONE_OF_TWO,
        thinking=_BY_BUDGET,
        thinking_off={},
    ),
    Entry(
        "claude-sonnet-4-5",
        source=_MODELS + "sonnet-4-5/overview",
        context_window=200_000,
        max_output=64_000,
        capabilities=_PREFILL,
        unsupported=_ONE_OF_TWO,
        thinking=_BY_BUDGET,
        thinking_off={},
    ),
    Entry(
        "claude-haiku-4-5",
        source=_MODELS + "haiku-4-5/overview",
        context_window=200_000,
        max_output=64_000,
        capabilities=_PREFILL,
        unsupported=_ONE_OF_TWO,
        thinking=_BY_BUDGET,
        thinking_off={},
    ),
)

ANTHROPIC = Vendor(
    "anthropic",
    ("api.anthropic.com",),
    "anthropic",
    (*_FIFTH, *_FOURTH),
    image_tokens=4_784,  # of Claude Opus 4.7 and later; the others scale images down further
)
