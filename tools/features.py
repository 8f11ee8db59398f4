"""What the fidelity matrix asks about: requests with one feature, answers with one feature, endpoints.

Nothing here says what becomes of a feature; `tools/fidelity.py` finds that out by running the dialects. `tags` are the
words by which the recordings tell that they show it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.natives import PIXEL

HELLO: dict[str, Any] = {"role": "user", "content": "Hello"}
PDF = "data:application/pdf;base64,JVBERi0xLjQK"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def tool(name: str = "get_weather", **function: Any) -> dict[str, Any]:
    """A function tool."""
    return {"type": "function", "function": {"name": name, "description": "It.", "parameters": SCHEMA, **function}}


def called(*ids: str) -> dict[str, Any]:
    """An assistant's message with a tool call for each id."""
    function = {"name": "get_weather", "arguments": '{"city":"Ulm"}'}
    calls = [{"id": id, "type": "function", "function": function} for id in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def result(id: str, content: Any = "sunny") -> dict[str, Any]:
    """The result of a call."""
    return {"role": "tool", "tool_call_id": id, "content": content}


def part(**members: Any) -> dict[str, Any]:
    """A user's message with one part beside a text."""
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "Look"}, members]}]}


TOOLS = {"tools": [tool(), tool("other")]}
LOOP = [HELLO, called("call_1", "call_2")]


@dataclass(frozen=True)
class Asked:
    """A feature of requests: the members that ask for it, and those of the same request without it."""

    name: str
    body: Mapping[str, Any]
    tags: tuple[str, ...] = ()
    without: Mapping[str, Any] = field(default_factory=dict)
    native: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # a dialect's own words, instead of `body`


@dataclass(frozen=True)
class Said:
    """An answer in one API's words: blocks or parts (OpenAI: a message), finish, usage, and what stands beside."""

    content: Any = None
    finish: str | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    beside: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answered:
    """A feature of answers: what each API says, where it has words for it; `body` is what the client asked."""

    name: str
    said: Mapping[str, Said]
    tags: tuple[str, ...] = ()
    body: Mapping[str, Any] = field(default_factory=dict)
    without: Mapping[str, Said] = field(default_factory=dict)


@dataclass(frozen=True)
class Served:
    """An endpoint beside chat: its name, a body, and how its recordings' API ends."""

    name: str
    endpoint: str
    body: Mapping[str, Any]
    api: str = ""
    streams: bool = False


MESSAGES = (
    Asked("system message", {"messages": [{"role": "system", "content": "Be brief."}, HELLO]}, ("system",)),
    Asked("developer message", {"messages": [{"role": "developer", "content": "Be brief."}, HELLO]}, ("developer",)),
    Asked(
        "system message in mid-conversation",
        {"messages": [HELLO, {"role": "system", "content": "Be brief."}, HELLO]},
        ("mid-system",),
    ),
    Asked("several turns", {"messages": [HELLO, {"role": "assistant", "content": "Hi."}, HELLO]}, ("multi-turn",)),
    Asked(
        "the answer's beginning (prefill)", {"messages": [HELLO, {"role": "assistant", "content": "{"}]}, ("prefill",)
    ),
    Asked("a participant's `name`", {"messages": [{**HELLO, "name": "ann"}]}),
    Asked(
        "`cache_control` on content parts",
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}}]}
            ]
        },
        ("cache-control",),
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]},
    ),
    Asked(
        "tool calls and their results",
        {**TOOLS, "messages": [*LOOP, result("call_1"), result("call_2", "rain")]},
        ("tool-result",),
        TOOLS,
    ),
    Asked(
        "results in another order",
        {**TOOLS, "messages": [*LOOP, result("call_2", "rain"), result("call_1")]},
        (),
        TOOLS,
    ),
    Asked(
        "an image as a tool's result",
        {
            **TOOLS,
            "messages": [
                HELLO,
                called("call_1"),
                result("call_1", [{"type": "image_url", "image_url": {"url": f"data:image/gif;base64,{PIXEL}"}}]),
            ],
        },
        ("tool-result-image",),
        {**TOOLS, "messages": [HELLO, called("call_1"), result("call_1")]},
    ),
    Asked(
        "`function_call` and `function` messages (legacy)",
        {
            "functions": [tool()["function"]],
            "messages": [
                HELLO,
                {"role": "assistant", "content": None, "function_call": called("x")["tool_calls"][0]["function"]},
                {"role": "function", "name": "get_weather", "content": "sunny"},
            ],
        },
        ("legacy-functions",),
        {"functions": [tool()["function"]]},
    ),
    Asked(
        "signed reasoning, sent back",
        {**TOOLS, "messages": [HELLO, {**called("call_1"), "reasoning_content": "Hm."}, result("call_1")]},
        ("thinking-history",),
        {**TOOLS, "messages": [HELLO, called("call_1"), result("call_1")]},
        {
            "anthropic": {
                **TOOLS,
                "messages": [
                    HELLO,
                    {
                        **called("call_1"),
                        "reasoning_details": [
                            {"index": 0, "type": "reasoning.text", "text": "Hm.", "signature": "c2ln"}
                        ],
                    },
                    result("call_1"),
                ],
            },
            "gemini": {
                **TOOLS,
                "messages": [
                    HELLO,
                    {
                        **called("call_1"),
                        "tool_calls": [
                            {
                                **called("call_1")["tool_calls"][0],
                                "extra_content": {"google": {"thought_signature": "c2ln"}},
                            }
                        ],
                    },
                    result("call_1"),
                ],
            },
        },
    ),
)
MEDIA = (
    Asked("image, as data", part(type="image_url", image_url={"url": f"data:image/gif;base64,{PIXEL}"}), ("image-in",)),
    Asked("image, by URL", part(type="image_url", image_url={"url": "https://example.com/a.png"}), ("image-url",)),
    Asked("PDF, as data", part(type="file", file={"filename": "a.pdf", "file_data": PDF}), ("pdf-in",)),
    Asked(
        "text document, as data",
        part(type="file", file={"filename": "a.txt", "file_data": "data:text/plain;base64,SGVsbG8="}),
        ("text-doc-in",),
    ),
    Asked("file, by its id", part(type="file", file={"file_id": "file-abc"})),
    Asked("file, by its URI", part(type="file", file={"file_id": "https://example.com/a.pdf"}), ("file-uri",)),
    Asked("audio", part(type="input_audio", input_audio={"data": "UklGRg==", "format": "wav"}), ("audio-in",)),
    Asked("video", part(type="video_url", video_url={"url": "https://example.com/a.mp4"}), ("video-in",)),
)
TOOLING = (
    Asked("`tools`: functions", TOOLS, ("tools",)),
    Asked("`functions` (legacy)", {"functions": [tool()["function"]]}, ("legacy-functions",)),
    Asked("`tools`: `strict`", {"tools": [tool(strict=True)]}, (), {"tools": [tool()]}),
    Asked(
        "`tools`: the provider's own",
        {"tools": [{"type": "web_search"}]},
        ("server-tools",),
        native={
            "anthropic": {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
            "gemini": {"tools": [{"googleSearch": {}}]},
        },
    ),
    Asked("`tools`: `custom`", {"tools": [{"type": "custom", "custom": {"name": "shell"}}]}),
    Asked("`tool_choice`: `auto`", {**TOOLS, "tool_choice": "auto"}, ("tool-choice-auto",), TOOLS),
    Asked(
        "`tool_choice`: `required`",
        {**TOOLS, "tool_choice": "required"},
        ("tool-choice-required", "tool-choice-any"),
        TOOLS,
    ),
    Asked("`tool_choice`: `none`", {**TOOLS, "tool_choice": "none"}, ("tool-choice-none",), TOOLS),
    Asked(
        "`tool_choice`: one function",
        {**TOOLS, "tool_choice": {"type": "function", "function": {"name": "other"}}},
        ("tool-choice-named", "tool-choice-tool"),
        TOOLS,
    ),
    Asked(
        "`tool_choice`: `allowed_tools`",
        {
            **TOOLS,
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "other"}}]},
            },
        },
        ("tool-choice-validated",),
        TOOLS,
    ),
    Asked("`parallel_tool_calls: false`", {**TOOLS, "parallel_tool_calls": False}, ("parallel-off",), TOOLS),
)
OUTPUT = (
    Asked("`response_format`: `json_object`", {"response_format": {"type": "json_object"}}, ("json-mode",)),
    Asked(
        "`response_format`: `json_schema`",
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA, "strict": True}}},
        ("structured",),
    ),
    Asked("`max_completion_tokens`", {"max_completion_tokens": 50}),
    Asked("`max_tokens`", {"max_tokens": 50}),
    Asked("`stop`", {"stop": ["END"]}, ("stop-sequences",)),
    Asked("`n` over 1", {"n": 2}, ("n>1",)),
    Asked("`logprobs`", {"logprobs": True, "top_logprobs": 2}, ("logprobs",)),
    Asked("`logit_bias`", {"logit_bias": {"50256": -100}}),
    Asked("`modalities`: image", {"modalities": ["text", "image"]}),
    Asked("`modalities`: audio", {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}),
    Asked("`prediction`", {"prediction": {"type": "content", "content": "x"}}),
    Asked("`verbosity`", {"verbosity": "low"}),
    Asked("`web_search_options`", {"web_search_options": {}}),
)
SAMPLING = (
    Asked("`temperature`", {"temperature": 0.5}),
    Asked("`temperature` over 1", {"temperature": 1.5}),
    Asked("`top_p`", {"top_p": 0.9}),
    Asked("`seed`", {"seed": 7}),
    Asked("`presence_penalty`", {"presence_penalty": 0.5}),
    Asked("`frequency_penalty`", {"frequency_penalty": 0.5}),
    Asked("`reasoning_effort`", {"reasoning_effort": "high"}, ("thinking-asked",)),
    Asked("`router.disable_thinking`", {"router": {"disable_thinking": True}}),
)
ACCOUNT = (
    Asked("`user`", {"user": "ann"}),
    Asked("`safety_identifier`", {"safety_identifier": "ann"}),
    Asked("`metadata`", {"metadata": {"a": "b"}}),
    Asked("`store`", {"store": True}),
    Asked("`service_tier`", {"service_tier": "flex"}),
    Asked("`prompt_cache_key`", {"prompt_cache_key": "a"}),
)

_CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"city": "Ulm"}}
_GEMINI_CALL = {"functionCall": {"name": "f", "args": {"city": "Ulm"}}}
_OPENAI_CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"city":"Ulm"}'}}
_TEXT = {"type": "text", "text": "Hello."}
_URL = "https://example.com/"


def openai_says(finish: str = "stop", usage: Mapping[str, Any] | None = None, **message: Any) -> Said:
    """An answer in OpenAI's words."""
    return Said(message or None, finish, usage or {})


ANSWERS = (
    Answered(
        "text, also beyond ASCII",
        {
            "openai": openai_says(content="Hello, Zoë. 🚦"),
            "anthropic": Said([{"type": "text", "text": "Hello, Zoë. 🚦"}]),
            "gemini": Said([{"text": "Hello, Zoë. 🚦"}]),
        },
        ("non-ascii",),
    ),
    Answered(
        "text in several blocks",
        {"anthropic": Said([_TEXT, _TEXT]), "gemini": Said([{"text": "Hello."}, {"text": "Hello."}])},
        ("many-text-blocks",),
    ),
    Answered(
        "tool call",
        {
            "openai": openai_says("tool_calls", tool_calls=[_OPENAI_CALL]),
            "anthropic": Said([_CALL], "tool_use"),
            "gemini": Said([_GEMINI_CALL]),
        },
        ("tool-call",),
    ),
    Answered(
        "several tool calls",
        {
            "openai": openai_says("tool_calls", tool_calls=[_OPENAI_CALL, {**_OPENAI_CALL, "id": "call_2"}]),
            "anthropic": Said([_CALL, {**_CALL, "id": "toolu_2"}], "tool_use"),
            "gemini": Said([_GEMINI_CALL, _GEMINI_CALL]),
        },
        ("parallel-tool-calls",),
        without={
            "openai": openai_says("tool_calls", tool_calls=[_OPENAI_CALL]),
            "anthropic": Said([_CALL], "tool_use"),
            "gemini": Said([_GEMINI_CALL]),
        },
    ),
    Answered(
        "text and a tool call",
        {
            "openai": openai_says("tool_calls", content="Hello.", tool_calls=[_OPENAI_CALL]),
            "anthropic": Said([_TEXT, _CALL], "tool_use"),
            "gemini": Said([{"text": "Hello."}, _GEMINI_CALL]),
        },
        ("text-and-tool",),
        without={
            "openai": openai_says("tool_calls", tool_calls=[_OPENAI_CALL]),
            "anthropic": Said([_CALL], "tool_use"),
            "gemini": Said([_GEMINI_CALL]),
        },
    ),
    Answered(
        "arguments in pieces",
        {
            "gemini": Said(
                [
                    {"functionCall": {"name": "f", "willContinue": True}},
                    {
                        "functionCall": {
                            "partialArgs": [{"jsonPath": "$.city", "stringValue": "Ulm"}],
                            "willContinue": True,
                        }
                    },
                    {"functionCall": {}},
                ]
            )
        },
        ("partial-args",),
    ),
    Answered(
        "call of a legacy function",
        {
            "openai": openai_says("function_call", function_call=_OPENAI_CALL["function"]),
            "anthropic": Said([_CALL], "tool_use"),
            "gemini": Said([_GEMINI_CALL]),
        },
        ("stop:function_call",),
        {"functions": [{"name": "f"}]},
    ),
    Answered(
        "reasoning",
        {
            "openai": openai_says(content="Hello.", reasoning_content="Hm."),
            "anthropic": Said([{"type": "thinking", "thinking": "Hm.", "signature": ""}, _TEXT]),
            "gemini": Said([{"text": "Hm.", "thought": True}, {"text": "Hello."}]),
        },
        ("thinking",),
    ),
    Answered(
        "signatures of reasoning",
        {
            "anthropic": Said([{"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}, _TEXT]),
            "gemini": Said([{"text": "Hello.", "thoughtSignature": "c2ln"}]),
        },
        ("thought-signature",),
        without={
            "anthropic": Said([{"type": "thinking", "thinking": "Hm.", "signature": ""}, _TEXT]),
            "gemini": Said([{"text": "Hello."}]),
        },
    ),
    Answered(
        "signature of a tool call",
        {"gemini": Said([{**_GEMINI_CALL, "thoughtSignature": "c2ln"}])},
        ("thought-signature",),
        without={"gemini": Said([_GEMINI_CALL])},
    ),
    Answered(
        "encrypted reasoning",
        {"anthropic": Said([{"type": "redacted_thinking", "data": "AAAA"}, _TEXT])},
        ("redacted-thinking",),
    ),
    Answered(
        "citations of web pages",
        {
            "openai": openai_says(
                content="Hello.", annotations=[{"type": "url_citation", "url_citation": {"url": _URL}}]
            ),
            "anthropic": Said(
                [{**_TEXT, "citations": [{"type": "web_search_result_location", "url": _URL, "title": "T"}]}]
            ),
            "gemini": Said(
                [{"text": "Hello."}],
                beside={
                    "groundingMetadata": {
                        "groundingChunks": [{"web": {"uri": _URL, "title": "T"}}],
                        "groundingSupports": [{"segment": {"endIndex": 6}, "groundingChunkIndices": [0]}],
                    }
                },
            ),
        },
        ("citations",),
    ),
    Answered(
        "steps of the provider's own tools",
        {
            "anthropic": Said(
                [
                    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
                    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
                    _TEXT,
                ]
            ),
            "gemini": Said([{"executableCode": {"language": "PYTHON", "code": "1"}}, {"text": "Hello."}]),
        },
        ("server-tool-used",),
    ),
    Answered(
        "images",
        {
            "openai": openai_says(content="", images=[{"type": "image_url", "image_url": {"url": _URL}}]),
            "gemini": Said([{"inlineData": {"mimeType": "image/gif", "data": PIXEL}}]),
        },
        ("media-out",),
    ),
    Answered(
        "structured output",
        {
            "openai": openai_says(content='{"city":"Ulm"}'),
            "anthropic": Said([{"type": "text", "text": '{"city":"Ulm"}'}]),
            "gemini": Said([{"text": '{"city":"Ulm"}'}]),
        },
        ("structured",),
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}},
    ),
    Answered(
        "several choices",
        {
            "openai": openai_says(content="Hello."),
            "gemini": Said([{"text": "Hello."}], beside={"second": [{"text": "Hi."}]}),
        },
        ("n>1",),
        {"n": 2},
        {"gemini": Said([{"text": "Hello."}], beside={"second": [{"text": "Bye."}]})},
    ),
    Answered(
        "log probabilities",
        {
            "openai": openai_says(content="Hello."),
            "gemini": Said(
                [{"text": "Hello."}],
                beside={"logprobsResult": {"chosenCandidates": [{"token": "Hello.", "logProbability": -0.1}]}},
            ),
        },
        ("logprobs",),
        {"logprobs": True},
    ),
)
FINISHES = (
    Answered(
        "the end",
        {
            "openai": openai_says(content="Hello."),
            "anthropic": Said([_TEXT], "end_turn"),
            "gemini": Said(finish="STOP"),
        },
        ("stop:stop", "stop:end_turn", "stop:STOP"),
        without={
            name: Said(finish="max_tokens" if name == "anthropic" else "MAX_TOKENS") for name in ("anthropic", "gemini")
        },
    ),
    Answered(
        "a stop sequence",
        {"openai": openai_says(content="Hello."), "anthropic": Said(finish="stop_sequence")},
        ("stop:stop_sequence",),
        without={"anthropic": Said(finish="max_tokens")},
    ),
    Answered(
        "the ceiling on tokens",
        {
            "openai": openai_says("length", content="Hello th"),
            "anthropic": Said(finish="max_tokens"),
            "gemini": Said(finish="MAX_TOKENS"),
        },
        ("stop:length", "stop:max_tokens", "stop:MAX_TOKENS"),
    ),
    Answered(
        "a refusal",
        {
            "openai": openai_says(content=None, refusal="No."),
            "anthropic": Said(finish="refusal"),
        },
        ("refusal", "stop:refusal"),
    ),
    Answered(
        "a safety filter",
        {"openai": openai_says("content_filter", content=""), "gemini": Said(finish="SAFETY")},
        ("stop:SAFETY", "stop:RECITATION", "azure-filter"),
    ),
    Answered(
        "a prompt that was blocked",
        {"gemini": Said([], beside={"promptFeedback": {"blockReason": "SAFETY"}})},
        ("prompt-blocked",),
    ),
    Answered(
        "a word that OpenAI does not have",
        {"anthropic": Said(finish="pause_turn"), "gemini": Said(finish="OTHER")},
        ("stop:OTHER", "stop:FAKE_ENUM", "stop:FAKE_NEW_FINISH_REASON", "stop:UNEXPECTED_TOOL_CALL"),
        without={
            name: Said(finish="max_tokens" if name == "anthropic" else "MAX_TOKENS") for name in ("anthropic", "gemini")
        },
    ),
)
_USAGE: dict[str, Any] = {"stream_options": {"include_usage": True}}
USAGE = (
    Answered(
        "tokens in and out",
        {
            "openai": openai_says(
                usage={"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}, content="Hello."
            ),
            "anthropic": Said(usage={"input_tokens": 9}),
            "gemini": Said(usage={"promptTokenCount": 9}),
        },
        ("stream-usage",),
        _USAGE,
    ),
    Answered(
        "cached tokens",
        {
            "openai": openai_says(
                usage={"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}, content="Hello."
            ),
            "anthropic": Said(usage={"cache_read_input_tokens": 4}),
            "gemini": Said(usage={"cachedContentTokenCount": 4}),
        },
        ("cache-read",),
        _USAGE,
    ),
    Answered(
        "tokens written to the cache",
        {
            "openai": openai_says(
                usage={"prompt_tokens": 9, "prompt_tokens_details": {"cache_write_tokens": 4}}, content="Hi."
            ),
            "anthropic": Said(usage={"cache_creation_input_tokens": 4}),
        },
        ("cache-write",),
        _USAGE,
    ),
    Answered(
        "reasoning tokens",
        {
            "openai": openai_says(usage={"completion_tokens_details": {"reasoning_tokens": 2}}, content="Hello."),
            "anthropic": Said(usage={"output_tokens_details": {"thinking_tokens": 2}}),
            "gemini": Said(usage={"thoughtsTokenCount": 2}),
        },
        ("reasoning-tokens",),
        _USAGE,
    ),
    Answered(
        "tokens of the provider's own tools",
        {"gemini": Said(usage={"toolUsePromptTokenCount": 4})},
        ("tool-use-prompt-tokens",),
        _USAGE,
    ),
)
ENDPOINTS = (
    Served("`/v1/embeddings`", "embeddings", {"input": ["Hello"], "dimensions": 8}, "-embeddings"),
    Served("`/v1/completions`", "completions", {"prompt": "Hello"}, "-completions", streams=True),
    Served("`/v1/moderations`", "moderations", {"input": "Hello"}),
    Served("`/v1/images/generations`", "images", {"prompt": "A cat"}, streams=True),
    Served("`/v1/audio/speech`", "speech", {"input": "Hello", "voice": "alloy"}),
    Served("`/v1/audio/transcriptions`", "transcriptions", {}, streams=True),
    Served("`/v1/audio/translations`", "translations", {}),
)
GROUPS: dict[str, tuple[Asked, ...] | tuple[Answered, ...]] = {
    "Messages": MESSAGES,
    "Media": MEDIA,
    "Tools": TOOLING,
    "The answer's form": OUTPUT,
    "Sampling and reasoning": SAMPLING,
    "Who and how": ACCOUNT,
    "Answers": ANSWERS,
    "How answers end": FINISHES,
    "Usage": USAGE,
}
