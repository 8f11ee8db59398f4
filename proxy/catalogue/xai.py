"""xAI's models as of 2026-11, for `/v1/chat/completions`.

Sources: the vendor's pages on models and reasoning, read in November 2026, partly through third parties that quote
them. Reasoning models reject penalties. No model can disable reasoning; choose the variant without reasoning instead.
"""

from __future__ import annotations

from proxy.catalogue.entry import Entry, Vendor, effort_words

_MODELS = "https://docs.x.ai/developers/models"
_PENALTIES = ("presence_penalty", "frequency_penalty")
_FULL = ("tools", "vision", "json_schema")
_THINKS = (*_FULL, "reasoning")
_TO_HIGH = effort_words("low", "medium", "high")

XAI = Vendor(
    "xai",
    ("api.x.ai",),
    "openai",
    (
        Entry(
            "grok-4.6",
            source=_MODELS,
            context_window=500_000,
            capabilities=_THINKS,
            unsupported=_PENALTIES,
        ),
        Entry(
            "grok-4.5",
            source=_MODELS,
            context_window=500_000,
            capabilities=_THINKS,
            unsupported=_PENALTIES,
            thinking=_TO_HIGH,
        ),
        Entry(
            "grok-4.3",
            source=_MODELS,
            context_window=1_000_000,
            capabilities=_THINKS,
            unsupported=_PENALTIES,
            thinking=_TO_HIGH,
        ),
        Entry(
            "grok-4.20-0309-reasoning",
            source=_MODELS,
            context_window=1_000_000,
            capabilities=_THINKS,
            unsupported=_PENALTIES,
        ),
        Entry(
            "grok-4.20-0309-non-reasoning",
            source=_MODELS,
            context_window=1_000_000,
            capabilities=_FULL,
        ),
        Entry(
            "grok-build-0.1",
            source=_MODELS,
            context_window=256_000,
        ),
    ),
    prices="x-ai",
)
