"""Groq's models as of 2026-11, for `/openai/v1/chat/completions` and the other endpoints beside it.

Sources: the vendor's list of models and its pages on reasoning, structured outputs and OpenAI compatibility, read in
November 2026, and recorded exchanges (`reasoning_effort`).
"""

from __future__ import annotations

from proxy.catalogue.entry import Entry, Vendor, by_effort, effort_words

_MODELS = "https://console.groq.com/docs/models"
_REASONING = "https://console.groq.com/docs/reasoning"
_REFUSED = ("logprobs", "top_logprobs", "logit_bias", "messages.reasoning_content")
_GPT_OSS = ("tools", "json_schema", "reasoning")

GROQ = Vendor(
    "groq",
    ("api.groq.com",),
    "openai",
    (
        Entry(
            "openai/gpt-oss-120b",
            source=_MODELS,
            context_window=131_072,
            max_output=65_536,
            capabilities=_GPT_OSS,
            unsupported=_REFUSED,
            thinking=effort_words("low", "medium", "high"),
        ),
        Entry(
            "openai/gpt-oss-20b",
            source=_MODELS,
            context_window=131_072,
            max_output=65_536,
            capabilities=_GPT_OSS,
            unsupported=_REFUSED,
            thinking=effort_words("low", "medium", "high"),
        ),
        Entry(
            "openai/gpt-oss-safeguard-20b",
            source=_MODELS,
            context_window=131_072,
            max_output=65_536,
            capabilities=_GPT_OSS,
            unsupported=_REFUSED,
            thinking=effort_words("low", "medium", "high"),
        ),
        Entry(
            "llama-3.3-70b-versatile",
            source=_MODELS,
            context_window=131_072,
            max_output=32_768,
            capabilities=("tools",),
            unsupported=_REFUSED,
        ),
        Entry(
            "llama-3.1-8b-instant",
            source=_MODELS,
            context_window=131_072,
            max_output=131_072,
            capabilities=("tools",),
            unsupported=_REFUSED,
        ),
        Entry(
            "qwen/qwen3-32b",
            source=_REASONING,
            context_window=131_072,
            max_output=40_960,
            capabilities=("tools", "reasoning"),
            unsupported=_REFUSED,
            thinking=by_effort(("minimal",), lambda _: {"reasoning_effort": "default"}),
            thinking_off={"reasoning_effort": "none"},
        ),
        Entry(
            "groq/compound",
            source=_MODELS,
            context_window=131_072,
            max_output=8_192,
            unsupported=_REFUSED,
        ),
        Entry(
            "groq/compound-mini",
            source=_MODELS,
            context_window=131_072,
            max_output=8_192,
            unsupported=_REFUSED,
        ),
        Entry("whisper-large-v3", source=_MODELS, kind="audio"),  # billed by the hour
        Entry("whisper-large-v3-turbo", source=_MODELS, kind="audio"),
    ),
)
