"""OpenAI's models as of 2026-11, for `/v1/chat/completions`; `openai_endpoints.py` has those of other endpoints.

Sources: the vendor's model pages, and its guides on reasoning and vision, read in November 2026, and recorded
rejections (`max_tokens` with GPT-5).

Two rules of the API shape the list. Reasoning models reject sampling parameters unless their effort is `none`: models
that reason by default list them under `unsupported`; models whose default is `none` (GPT-5.1 to 5.4) do not. From
GPT-5.6, chat completions accept function tools only with the effort `none`, and some models never do. Their
`capabilities` therefore lack `tools`, so that routing sends calls with tools to other models.
"""

from __future__ import annotations

from proxy.catalogue.entry import Entry, Usd, Vendor, effort_words
from proxy.catalogue.openai_endpoints import OTHERS

_MODELS = "https://developers.openai.com/api/docs/models/"
_SAMPLING = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "logit_bias")
_REASONING = (*_SAMPLING, "max_tokens")
_OFF = {"reasoning_effort": "none"}

_FULL = ("tools", "vision", "json_schema", "files")
_THINKS = (*_FULL, "reasoning")
_NO_TOOLS = ("vision", "json_schema", "files", "reasoning")

_TO_HIGH = effort_words("low", "medium", "high")
_TO_XHIGH = effort_words("low", "medium", "high", "xhigh")
_TO_MAX = effort_words("low", "medium", "high", "xhigh", "max")
_FROM_MINIMAL = effort_words("minimal", "low", "medium", "high")

_GPT_6 = (
    Entry(
        "gpt-6-astra",
        source=_MODELS + "gpt-6-astra",
        context_window=1_050_000,
        max_output=128_000,
        capabilities=_NO_TOOLS,
        unsupported=_REASONING,
        thinking=_TO_MAX,
    ),
    Entry(
        "gpt-6.2-sol",
        source=_MODELS + "gpt-6.2-sol",
        context_window=1_050_000,
        max_output=128_000,
        capabilities=_NO_TOOLS,
        unsupported=_REASONING,
        price=Usd("2", "10"),
    ),
    Entry(
        "gpt-6.1-sol",
        source=_MODELS + "gpt-6.1-sol",
        context_window=1_050_000,
        max_output=128_000,
        capabilities=_NO_TOOLS,
        unsupported=_REASONING,
        thinking=_TO_MAX,
    ),
    Entry(
        "gpt-6.1-terra",
        source=_MODELS + "gpt-6.1-terra",
        unsupported=_REASONING,
        thinking_off=_OFF,
    ),
    Entry(
        "gpt-6-sol",
        source=_MODELS + "gpt-6-sol",
        context_window=1_050_000,
        max_output=128_000,
        capabilities=_NO_TOOLS,
        unsupported=_REASONING,
        thinking=_TO_MAX,
        thinking_off=_OFF,
    ),
    Entry(
        "gpt-6-luna",
        source=_MODELS + "gpt-6-luna",
        context_window=1_050_000,
        max_output=128_000,
        capabilities=_NO_TOOLS,
        unsupported=_REASONING,
        thinking=_TO_MAX,
        thinking_off=_OFF,
    ),
)

_GPT_5 = (
    Entry(
        "gpt-5.6-sol",
        source=_MODELS + "gpt-5.6-sol",
        context_window=1_050_000,
        max_output=128_000,
        capabilities=_NO_TOOLS,
        unsupported=_REASONING,
        thinking=_TO_MAX,
        thinking_off=_OFF,
        aliases=("gpt-5.6",),
    ),
    Entry(
        "gpt-5.6-terra",
        source=_MODELS + "gpt-5.6-terra",
        context_window=1_050_000,
        max_output=128_000,
        capabilities=_NO_TOOLS,
        unsupported=_REASONING,
        thinking=_TO_MAX,
        thinking_off=_OFF,
    ),
    Entry(
        "gpt-5.6-luna",
        source=_MODELS + "gpt-5.6-luna",
        context_window=1_050_000,
        max_output=128_000,
        capabilities=_NO_TOOLS,
        unsupported=_REASONING,
        thinking=_TO_XHIGH,
        thinking_off=_OFF,
    ),
    Entry(
        "gpt-5.5",
        source=_MODELS + "gpt-5.5",
        context_window=1_050_000,
        max_output=128_000,
        capabilities=_THINKS,
        unsupported=_REASONING,
        thinking=_TO_XHIGH,
        thinking_off=_OFF,
    ),
    Entry(
        "gpt-5.4",
        source=_MODELS + "gpt-5.4",
        context_window=1_050_000,
        max_output=128_000,
        capabilities=_THINKS,
        unsupported=("max_tokens",),
        thinking=_TO_XHIGH,
        thinking_off=_OFF,
    ),
    Entry(
        "gpt-5.4-mini",
        source=_MODELS + "gpt-5.4-mini",
        context_window=400_000,
        max_output=128_000,
        capabilities=_THINKS,
        unsupported=("max_tokens",),
        thinking=_TO_XHIGH,
        thinking_off=_OFF,
    ),
    Entry(
        "gpt-5.4-nano",
        source=_MODELS + "gpt-5.4-nano",
        context_window=400_000,
        max_output=128_000,
        capabilities=_THINKS,
        unsupported=("max_tokens",),
        thinking=_TO_XHIGH,
        thinking_off=_OFF,
    ),
    Entry(
        "gpt-5.2",
        source=_MODELS + "gpt-5.2",
        context_window=400_000,
        max_output=128_000,
        capabilities=_THINKS,
        unsupported=("max_tokens",),
        thinking=_TO_XHIGH,
        thinking_off=_OFF,
    ),
    Entry(
        "gpt-5.1",
        source=_MODELS + "gpt-5.1",
        context_window=400_000,
        max_output=128_000,
        capabilities=_THINKS,
        unsupported=("max_tokens",),
        thinking=_TO_HIGH,
        thinking_off=_OFF,
    ),
    Entry(
        "gpt-5",
        source=_MODELS + "gpt-5",
        context_window=400_000,
        max_output=128_000,
        capabilities=_THINKS,
        unsupported=_REASONING,
        thinking=_FROM_MINIMAL,
    ),
    Entry(
        "gpt-5-mini",
        source=_MODELS + "gpt-5-mini",
        context_window=400_000,
        max_output=128_000,
        capabilities=_THINKS,
        unsupported=_REASONING,
        thinking=_FROM_MINIMAL,
    ),
    Entry(
        "gpt-5-nano",
        source=_MODELS + "gpt-5-nano",
        context_window=400_000,
        max_output=128_000,
        capabilities=_THINKS,
        unsupported=_REASONING,
        thinking=_FROM_MINIMAL,
    ),
)

_GPT_4 = (
    Entry(
        "gpt-4.1",
        source=_MODELS + "gpt-4.1",
        context_window=1_047_576,
        max_output=32_768,
        capabilities=_FULL,
    ),
    Entry(
        "gpt-4.1-mini",
        source=_MODELS + "gpt-4.1-mini",
        context_window=1_047_576,
        max_output=32_768,
        capabilities=_FULL,
    ),
    Entry(
        "gpt-4.1-nano",
        source=_MODELS + "gpt-4.1-nano",
        context_window=1_047_576,
        max_output=32_768,
        capabilities=_FULL,
    ),
    Entry(
        "gpt-4o",
        source=_MODELS + "gpt-4o",
        context_window=128_000,
        max_output=16_384,
        capabilities=_FULL,
        image_tokens=1_445,  # 85 and 8 tiles of 170
    ),
    Entry(
        "gpt-4o-2024-05-13",  # the first snapshot: more expensive, without strict schemas
        source=_MODELS + "gpt-4o",
        context_window=128_000,
        max_output=4_096,
        capabilities=("tools", "vision"),
        image_tokens=1_445,
    ),
    Entry(
        "gpt-4o-mini",
        source=_MODELS + "gpt-4o-mini",
        context_window=128_000,
        max_output=16_384,
        capabilities=_FULL,
        image_tokens=48_169,  # 2,833 and 8 tiles of 5,667
    ),
    Entry(
        "gpt-4o-audio-preview",
        source=_MODELS + "gpt-4o-audio-preview",
        context_window=128_000,
        max_output=16_384,
        capabilities=("tools", "audio"),
    ),
    Entry(
        "gpt-4-turbo",
        source=_MODELS + "gpt-4-turbo",
        context_window=128_000,
        max_output=4_096,
        capabilities=("tools", "vision"),
        image_tokens=1_445,
    ),
    Entry(
        "gpt-4",
        source=_MODELS + "gpt-4",
        context_window=8_192,
        max_output=8_192,
        capabilities=("tools",),
    ),
    Entry(
        "gpt-3.5-turbo",
        source=_MODELS + "gpt-3.5-turbo",
        context_window=16_385,
        max_output=4_096,
        capabilities=("tools",),
    ),
)

_O_SERIES = (
    Entry(
        "o3",
        source=_MODELS + "o3",
        context_window=200_000,
        max_output=100_000,
        capabilities=_THINKS,
        unsupported=_REASONING,
        thinking=_TO_HIGH,
    ),
    Entry(
        "o4-mini",
        source=_MODELS + "o4-mini",
        context_window=200_000,
        max_output=100_000,
        capabilities=_THINKS,
        unsupported=_REASONING,
        thinking=_TO_HIGH,
    ),
    Entry(
        "o3-mini",
        source=_MODELS + "o3-mini",
        context_window=200_000,
        max_output=100_000,
        capabilities=("tools", "json_schema", "reasoning"),
        unsupported=(*_REASONING, "parallel_tool_calls"),
        thinking=_TO_HIGH,
    ),
    Entry(
        "o1",
        source=_MODELS + "o1",
        context_window=200_000,
        max_output=100_000,
        capabilities=_THINKS,
        unsupported=(*_REASONING, "parallel_tool_calls"),
        thinking=_TO_HIGH,
    ),
)

OPENAI = Vendor(
    "openai",
    ("api.openai.com",),
    "openai",
    (*_GPT_6, *_GPT_5, *_GPT_4, *_O_SERIES, *OTHERS),
    image_tokens=24_600,  # 10,000 patches, each of 2.46 tokens at most
)
