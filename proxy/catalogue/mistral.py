"""Mistral's models as of 2026-11, for `/v1/chat/completions` and `/v1/embeddings`.

Sources: the vendor's model cards and API reference, read in November 2026, and recorded exchanges (`reasoning_effort`
with Mistral Small). A limit is left out if sources differ or only third parties name it.

The API rejects members that its reference does not list, so members that only OpenAI has are listed under
`unsupported`. It limits the answer by `max_tokens`.
"""

from __future__ import annotations

from proxy.catalogue.entry import Entry, Vendor, effort_words

_MODELS = "https://docs.mistral.ai/models/"
_UNKNOWN = (
    "max_completion_tokens",
    "seed",
    "user",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "store",
    "service_tier",
    "verbosity",
    "stream_options",
    "prompt_cache_key",
    "safety_identifier",
    "messages.developer",
    "messages.reasoning_content",
)
_FULL = ("tools", "vision", "json_schema")
_THINKS = (*_FULL, "reasoning")
_OFF = {"reasoning_effort": "none"}
_HIGH_ONLY = effort_words("high")

MISTRAL = Vendor(
    "mistral",
    ("api.mistral.ai",),
    "openai",
    (
        Entry(
            "mistral-large-4-0",
            source=_MODELS + "mistral-large-4-0",
            capabilities=_THINKS,
            unsupported=_UNKNOWN,
            aliases=("mistral-large-4",),
        ),
        Entry(
            "mistral-large-latest",  # the vendor decides which generation it is
            source=_MODELS + "overview",
            capabilities=_FULL,
            unsupported=_UNKNOWN,
        ),
        Entry(
            "mistral-large-2512",
            source=_MODELS + "mistral-large-3-25-12",
            context_window=256_000,
            capabilities=_FULL,
            unsupported=_UNKNOWN,
        ),
        Entry(
            "mistral-medium-3-5",
            source=_MODELS + "model-cards/mistral-medium-3-5-26-04",
            context_window=256_000,
            capabilities=_THINKS,
            unsupported=_UNKNOWN,
            thinking=_HIGH_ONLY,
            thinking_off=_OFF,
            aliases=("mistral-medium-3.5", "mistral-medium-3", "mistral-medium-latest"),
        ),
        Entry(
            "mistral-small-2603",
            source=_MODELS + "mistral-small-4-0-26-03",
            context_window=256_000,
            capabilities=_THINKS,
            unsupported=_UNKNOWN,
            thinking=_HIGH_ONLY,
            thinking_off=_OFF,
            aliases=("mistral-small-latest",),
        ),
        Entry(
            "codestral-2508",
            source=_MODELS + "codestral-25-08",
            context_window=256_000,
            capabilities=("tools", "json_schema"),
            unsupported=_UNKNOWN,
            aliases=("codestral-latest",),
        ),
        Entry(
            "mistral-embed",
            source=_MODELS + "mistral-embed-23-12",
            kind="embedding",
            context_window=8_192,
        ),
    ),
)
