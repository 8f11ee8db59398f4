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
class Request:
    """A feature of requests: the members that ask for it, and those of the same request without it."""

    name: str
    body: Mapping[str, Any]
    tags: tuple[str, ...] = ()
    without: Mapping[str, Any] = field(default_factory=dict)
    native: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # a dialect's own words, instead of `body`


@dataclass(frozen=True)
class Native:
    """An answer in one API's words: blocks or parts (OpenAI: a message), finish, usage, and what stands beside."""

    content: Any = None
    finish: str | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    beside: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """A feature of answers: what each API says, where it has words for it; `body` is what the client asked."""

    name: str
    native: Mapping[str, Native]
    tags: tuple[str, ...] = ()
    body: Mapping[str, Any] = field(default_factory=dict)
    without: Mapping[str, Native] = field(default_factory=dict)


@dataclass(frozen=True)
class Endpoint:
    """An endpoint beside chat: its name, a body, and how its recordings' API ends."""

    name: str
    endpoint: str
    body: Mapping[str, Any]
    api: str = ""
    streams: bool = False


MESSAGES = (
    Request("system message", {"messages": [{"role": "system", "content": "Be brief."}, HELLO]}, ("system",)),
    Request("developer message", {"messages": [{"role": "developer", "content": "Be brief."}, HELLO]}, ("developer",)),
    Request(
        "system message in mid-conversation",
        {"messages": [HELLO, {"role": "system", "content": "Be brief."}, HELLO]},
        ("mid-system",),
    ),
    Request("several turns", {"messages": [HELLO, {"role": "assistant", "content": "Hi."}, HELLO]}, ("multi-turn",)),
    Request(
        "the answer's beginning (prefill)", {"messages": [HELLO, {"role": "assistant", "content": "{"}]}, ("prefill",)
    ),
    Request("a participant's `name`", {"messages": [{**HELLO, "name": "ann"}]}),
    Request(
        "`cache_control` on content parts",
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}}]}
            ]
        },
        ("cache-control",),
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]},
    ),
    Request(
        "tool calls and their results",
        {**TOOLS, "messages": [*LOOP, result("call_1"), result("call_2", "rain")]},
        ("tool-result",),
        TOOLS,
    ),
    Request(
        "results in another order",
        {**TOOLS, "messages": [*LOOP, result("call_2", "rain"), result("call_1")]},
        (),
        TOOLS,
    ),
    Request(
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
    Request(
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
    Request(
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
    Request(
        "image, as data", part(type="image_url", image_url={"url": f"data:image/gif;base64,{PIXEL}"}), ("image-in",)
    ),
    Request("image, by URL", part(type="image_url", image_url={"url": "https://example.com/a.png"}), ("image-url",)),
    Request("PDF, as data", part(type="file", file={"filename": "a.pdf", "file_data": PDF}), ("pdf-in",)),
    Request(
        "text document, as data",
        part(type="file", file={"filename": "a.txt", "file_data": "data:text/plain;base64,SGVsbG8="}),
        ("text-doc-in",),
    ),
    Request("file, by its id", part(type="file", file={"file_id": "file-abc"})),
    Request("file, by its URI", part(type="file", file={"file_id": "https://example.com/a.pdf"}), ("file-uri",)),
    Request("audio", part(type="input_audio", input_audio={"data": "UklGRg==", "format": "wav"}), ("audio-in",)),
    Request("video", part(type="video_url", video_url={"url": "https://example.com/a.mp4"}), ("video-in",)),
)
TOOLING = (
    Request("`tools`: functions", TOOLS, ("tools",)),
    Request("`functions` (legacy)", {"functions": [tool()["function"]]}, ("legacy-functions",)),
    Request("`tools`: `strict`", {"tools": [tool(strict=True)]}, (), {"tools": [tool()]}),
    Request(
        "`tools`: the provider's own",
        {"tools": [{"type": "web_search"}]},
        ("server-tools",),
        native={
            "anthropic": {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
            "gemini": {"tools": [{"googleSearch": {}}]},
        },
    ),
    Request("`tools`: `custom`", {"tools": [{"type": "custom", "custom": {"name": "shell"}}]}),
    Request("`tool_choice`: `auto`", {**TOOLS, "tool_choice": "auto"}, ("tool-choice-auto",), TOOLS),
    Request(
        "`tool_choice`: `required`",
        {**TOOLS, "tool_choice": "required"},
        ("tool-choice-required", "tool-choice-any"),
        TOOLS,
    ),
    Request("`tool_choice`: `none`", {**TOOLS, "tool_choice": "none"}, ("tool-choice-none",), TOOLS),
    Request(
        "`tool_choice`: one function",
        {**TOOLS, "tool_choice": {"type": "function", "function": {"name": "other"}}},
        ("tool-choice-named", "tool-choice-tool"),
        TOOLS,
    ),
    Request(
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
    Request("`parallel_tool_calls: false`", {**TOOLS, "parallel_tool_calls": False}, ("parallel-off",), TOOLS),
)
OUTPUT = (
    Request("`response_format`: `json_object`", {"response_format": {"type": "json_object"}}, ("json-mode",)),
    Request(
        "`response_format`: `json_schema`",
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA, "strict": True}}},
        ("structured",),
    ),
    Request("`max_completion_tokens`", {"max_completion_tokens": 50}),
    Request("`max_tokens`", {"max_tokens": 50}),
    Request("`stop`", {"stop": ["END"]}, ("stop-sequences",)),
    Request("`n` over 1", {"n": 2}, ("n>1",)),
    Request("`logprobs`", {"logprobs": True, "top_logprobs": 2}, ("logprobs",)),
    Request("`logit_bias`", {"logit_bias": {"50256": -100}}),
    Request("`modalities`: image", {"modalities": ["text", "image"]}),
    Request("`modalities`: audio", {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}),
    Request("`prediction`", {"prediction": {"type": "content", "content": "x"}}),
    Request("`verbosity`", {"verbosity": "low"}),
    Request("`web_search_options`", {"web_search_options": {}}),
)
SAMPLING = (
    Request("`temperature`", {"temperature": 0.5}),
    Request("`temperature` over 1", {"temperature": 1.5}),
    Request("`top_p`", {"top_p": 0.9}),
    Request("`seed`", {"seed": 7}),
    Request("`presence_penalty`", {"presence_penalty": 0.5}),
    Request("`frequency_penalty`", {"frequency_penalty": 0.5}),
    Request("`reasoning_effort`", {"reasoning_effort": "high"}, ("thinking-asked",)),
    Request("`router.disable_thinking`", {"router": {"disable_thinking": True}}),
)
ACCOUNT = (
    Request("`user`", {"user": "ann"}),
    Request("`safety_identifier`", {"safety_identifier": "ann"}),
    Request("`metadata`", {"metadata": {"a": "b"}}),
    Request("`store`", {"store": True}),
    Request("`service_tier`", {"service_tier": "flex"}),
    Request("`prompt_cache_key`", {"prompt_cache_key": "a"}),
)

_CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"city": "Ulm"}}
_GEMINI_CALL = {"functionCall": {"name": "f", "args": {"city": "Ulm"}}}
_OPENAI_CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"city":"Ulm"}'}}
_TEXT = {"type": "text", "text": "Hello."}
_URL = "https://example.com/"


def openai_answer(finish: str = "stop", usage: Mapping[str, Any] | None = None, **message: Any) -> Native:
    """An answer in OpenAI's words."""
    return Native(message or None, finish, usage or {})


ANSWERS = (
    Answer(
        "text, also beyond ASCII",
        {
            "openai": openai_answer(content="Hello, Zoë. 🚦"),
            "anthropic": Native([{"type": "text", "text": "Hello, Zoë. 🚦"}]),
            "gemini": Native([{"text": "Hello, Zoë. 🚦"}]),
        },
        ("non-ascii",),
    ),
    Answer(
        "text in several blocks",
        {"anthropic": Native([_TEXT, _TEXT]), "gemini": Native([{"text": "Hello."}, {"text": "Hello."}])},
        ("many-text-blocks",),
    ),
    Answer(
        "tool call",
        {
            "openai": openai_answer("tool_calls", tool_calls=[_OPENAI_CALL]),
            "anthropic": Native([_CALL], "tool_use"),
            "gemini": Native([_GEMINI_CALL]),
        },
        ("tool-call",),
    ),
    Answer(
        "several tool calls",
        {
            "openai": openai_answer("tool_calls", tool_calls=[_OPENAI_CALL, {**_OPENAI_CALL, "id": "call_2"}]),
            "anthropic": Native([_CALL, {**_CALL, "id": "toolu_2"}], "tool_use"),
            "gemini": Native([_GEMINI_CALL, _GEMINI_CALL]),
        },
        ("parallel-tool-calls",),
        without={
            "openai": openai_answer("tool_calls", tool_calls=[_OPENAI_CALL]),
            "anthropic": Native([_CALL], "tool_use"),
            "gemini": Native([_GEMINI_CALL]),
        },
    ),
    Answer(
        "text and a tool call",
        {
            "openai": openai_answer("tool_calls", content="Hello.", tool_calls=[_OPENAI_CALL]),
            "anthropic": Native([_TEXT, _CALL], "tool_use"),
            "gemini": Native([{"text": "Hello."}, _GEMINI_CALL]),
        },
        ("text-and-tool",),
        without={
            "openai": openai_answer("tool_calls", tool_calls=[_OPENAI_CALL]),
            "anthropic": Native([_CALL], "tool_use"),
            "gemini": Native([_GEMINI_CALL]),
        },
    ),
    Answer(
        "arguments in pieces",
        {
            "gemini": Native(
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
    Answer(
        "call of a legacy function",
        {
            "openai": openai_answer("function_call", function_call=_OPENAI_CALL["function"]),
            "anthropic": Native([_CALL], "tool_use"),
            "gemini": Native([_GEMINI_CALL]),
        },
        ("stop:function_call",),
        {"functions": [{"name": "f"}]},
    ),
    Answer(
        "reasoning",
        {
            "openai": openai_answer(content="Hello.", reasoning_content="Hm."),
            "anthropic": Native([{"type": "thinking", "thinking": "Hm.", "signature": ""}, _TEXT]),
            "gemini": Native([{"text": "Hm.", "thought": True}, {"text": "Hello."}]),
        },
        ("thinking",),
    ),
    Answer(
        "signatures of reasoning",
        {
            "anthropic": Native([{"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}, _TEXT]),
            "gemini": Native([{"text": "Hello.", "thoughtSignature": "c2ln"}]),
        },
        ("thought-signature",),
        without={
            "anthropic": Native([{"type": "thinking", "thinking": "Hm.", "signature": ""}, _TEXT]),
            "gemini": Native([{"text": "Hello."}]),
        },
    ),
    Answer(
        "signature of a tool call",
        {"gemini": Native([{**_GEMINI_CALL, "thoughtSignature": "c2ln"}])},
        ("thought-signature",),
        without={"gemini": Native([_GEMINI_CALL])},
    ),
    Answer(
        "encrypted reasoning",
        {"anthropic": Native([{"type": "redacted_thinking", "data": "AAAA"}, _TEXT])},
        ("redacted-thinking",),
    ),
    Answer(
        "citations of web pages",
        {
            "openai": openai_answer(
                content="Hello.", annotations=[{"type": "url_citation", "url_citation": {"url": _URL}}]
            ),
            "anthropic": Native(
                [{**_TEXT, "citations": [{"type": "web_search_result_location", "url": _URL, "title": "T"}]}]
            ),
            "gemini": Native(
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
    Answer(
        "steps of the provider's own tools",
        {
            "anthropic": Native(
                [
                    {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
                    {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
                    _TEXT,
                ]
            ),
            "gemini": Native([{"executableCode": {"language": "PYTHON", "code": "1"}}, {"text": "Hello."}]),
        },
        ("server-tool-used",),
    ),
    Answer(
        "images",
        {
            "openai": openai_answer(content="", images=[{"type": "image_url", "image_url": {"url": _URL}}]),
            "gemini": Native([{"inlineData": {"mimeType": "image/gif", "data": PIXEL}}]),
        },
        ("media-out",),
    ),
    Answer(
        "structured output",
        {
            "openai": openai_answer(content='{"city":"Ulm"}'),
            "anthropic": Native([{"type": "text", "text": '{"city":"Ulm"}'}]),
            "gemini": Native([{"text": '{"city":"Ulm"}'}]),
        },
        ("structured",),
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}},
    ),
    Answer(
        "several choices",
        {
            "openai": openai_answer(content="Hello."),
            "gemini": Native([{"text": "Hello."}], beside={"second": [{"text": "Hi."}]}),
        },
        ("n>1",),
        {"n": 2},
        {"gemini": Native([{"text": "Hello."}], beside={"second": [{"text": "Bye."}]})},
    ),
    Answer(
        "log probabilities",
        {
            "openai": openai_answer(content="Hello."),
            "gemini": Native(
                [{"text": "Hello."}],
                beside={"logprobsResult": {"chosenCandidates": [{"token": "Hello.", "logProbability": -0.1}]}},
            ),
        },
        ("logprobs",),
        {"logprobs": True},
    ),
)
FINISHES = (
    Answer(
        "the end",
        {
            "openai": openai_answer(content="Hello."),
            "anthropic": Native([_TEXT], "end_turn"),
            "gemini": Native(finish="STOP"),
        },
        ("stop:stop", "stop:end_turn", "stop:STOP"),
        without={
            name: Native(finish="max_tokens" if name == "anthropic" else "MAX_TOKENS")
            for name in ("anthropic", "gemini")
        },
    ),
    Answer(
        "a stop sequence",
        {"openai": openai_answer(content="Hello."), "anthropic": Native(finish="stop_sequence")},
        ("stop:stop_sequence",),
        without={"anthropic": Native(finish="max_tokens")},
    ),
    Answer(
        "the ceiling on tokens",
        {
            "openai": openai_answer("length", content="Hello th"),
            "anthropic": Native(finish="max_tokens"),
            "gemini": Native(finish="MAX_TOKENS"),
        },
        ("stop:length", "stop:max_tokens", "stop:MAX_TOKENS"),
    ),
    Answer(
        "a refusal",
        {
            "openai": openai_answer(content=None, refusal="No."),
            "anthropic": Native(finish="refusal"),
        },
        ("refusal", "stop:refusal"),
    ),
    Answer(
        "a safety filter",
        {"openai": openai_answer("content_filter", content=""), "gemini": Native(finish="SAFETY")},
        ("stop:SAFETY", "stop:RECITATION", "azure-filter"),
    ),
    Answer(
        "a prompt that was blocked",
        {"gemini": Native([], beside={"promptFeedback": {"blockReason": "SAFETY"}})},
        ("prompt-blocked",),
    ),
    Answer(
        "a word that OpenAI does not have",
        {"anthropic": Native(finish="pause_turn"), "gemini": Native(finish="OTHER")},
        ("stop:OTHER", "stop:FAKE_ENUM", "stop:FAKE_NEW_FINISH_REASON", "stop:UNEXPECTED_TOOL_CALL"),
        without={
            name: Native(finish="max_tokens" if name == "anthropic" else "MAX_TOKENS")
            for name in ("anthropic", "gemini")
        },
    ),
)
_USAGE: dict[str, Any] = {"stream_options": {"include_usage": True}}
USAGE = (
    Answer(
        "tokens in and out",
        {
            "openai": openai_answer(
                usage={"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}, content="Hello."
            ),
            "anthropic": Native(usage={"input_tokens": 9}),
            "gemini": Native(usage={"promptTokenCount": 9}),
        },
        ("stream-usage",),
        _USAGE,
    ),
    Answer(
        "cached tokens",
        {
            "openai": openai_answer(
                usage={"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}, content="Hello."
            ),
            "anthropic": Native(usage={"cache_read_input_tokens": 4}),
            "gemini": Native(usage={"cachedContentTokenCount": 4}),
        },
        ("cache-read",),
        _USAGE,
    ),
    Answer(
        "tokens written to the cache",
        {
            "openai": openai_answer(
                usage={"prompt_tokens": 9, "prompt_tokens_details": {"cache_write_tokens": 4}}, content="Hi."
            ),
            "anthropic": Native(usage={"cache_creation_input_tokens": 4}),
        },
        ("cache-write",),
        _USAGE,
    ),
    Answer(
        "reasoning tokens",
        {
            "openai": openai_answer(usage={"completion_tokens_details": {"reasoning_tokens": 2}}, content="Hello."),
            "anthropic": Native(usage={"output_tokens_details": {"thinking_tokens": 2}}),
            "gemini": Native(usage={"thoughtsTokenCount": 2}),
        },
        ("reasoning-tokens",),
        _USAGE,
    ),
    Answer(
        "tokens of the provider's own tools",
        {"gemini": Native(usage={"toolUsePromptTokenCount": 4})},
        ("tool-use-prompt-tokens",),
        _USAGE,
    ),
)
ENDPOINTS = (
    Endpoint("`/v1/embeddings`", "embeddings", {"input": ["Hello"], "dimensions": 8}, "-embeddings"),
    Endpoint("`/v1/completions`", "completions", {"prompt": "Hello"}, "-completions", streams=True),
    Endpoint("`/v1/moderations`", "moderations", {"input": "Hello"}),
    Endpoint("`/v1/images/generations`", "images", {"prompt": "A cat"}, streams=True),
    Endpoint("`/v1/audio/speech`", "speech", {"input": "Hello", "voice": "alloy"}),
    Endpoint("`/v1/audio/transcriptions`", "transcriptions", {}, streams=True),
    Endpoint("`/v1/audio/translations`", "translations", {}),
)
GROUPS: dict[str, tuple[Request, ...] | tuple[Answer, ...]] = {
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
