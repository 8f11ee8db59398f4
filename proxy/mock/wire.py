"""The mock's answers as bytes: one `chat.completion`, or the events of a stream, as the OpenAI API writes them.

Decides nothing about what the answer says; the only choice here is how it is cut into deltas.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from json.encoder import encode_basestring
from typing import Any

from proxy.core.json_text import compact

CREATED = 1735689600  # the first second of 2025: answers are equal byte for byte, whenever they are made
DONE = b"data: [DONE]\n\n"

_WORDS = re.compile(r"\s+\S*|\S+")
_FRAGMENT = 12  # characters of tool arguments in one delta

words: Callable[[str], list[str]] = _WORDS.findall  # each with the white space before it; joined they are the text


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of one function; `legacy` is the form before `tools`: `function_call`."""

    id: str
    name: str
    arguments: str
    legacy: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """One alternative: text, or a tool call."""

    finish_reason: str
    content: str | None = None
    tool: ToolCall | None = None

    @property
    def pieces(self) -> list[str]:
        """The texts of the deltas: words of the content, or fragments of the arguments."""
        if self.tool is None:
            return words(self.content or "")
        text = self.tool.arguments
        return [text[start : start + _FRAGMENT] for start in range(0, len(text), _FRAGMENT)]


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything that an answer says, however it is sent."""

    id: str
    model: str
    choices: tuple[Choice, ...]
    prompt_tokens: int

    @property
    def completion_tokens(self) -> int:
        """One token for each delta with content, one for the name of a function."""
        return sum(len(choice.pieces) + (choice.tool is not None) for choice in self.choices)


def completion(answer: Answer) -> bytes:
    """The answer as one JSON body."""
    choices = []
    for index, choice in enumerate(answer.choices):
        message: dict[str, Any] = {"role": "assistant", "content": choice.content, "refusal": None}
        if choice.tool is not None:
            message |= _call(choice.tool)
        choices.append({"index": index, "message": message, "logprobs": None, "finish_reason": choice.finish_reason})
    return compact(
        {
            "id": answer.id,
            "object": "chat.completion",
            "created": CREATED,
            "model": answer.model,
            "system_fingerprint": "mock",
            "choices": choices,
            "usage": _usage(answer),
        }
    )


def events(answer: Answer, *, usage: bool) -> Iterator[bytes]:
    """The answer as a stream, an event at a time; `usage` is `stream_options.include_usage`.

    Every choice opens, then the choices take turns, then each of them finishes. The event of a piece is
    that of an empty piece with the text put in.
    """
    frames = []
    for index, choice in enumerate(answer.choices):
        content = "" if choice.tool is None else None
        yield _event(answer, usage, index, {"role": "assistant", "content": content, "refusal": None})
        before, _, after = _event(answer, usage, index, _piece(choice.tool)).rpartition(b'""')
        frames.append((before, after))
    for index, choice in enumerate(answer.choices):
        if choice.tool is not None:
            yield _event(answer, usage, index, _opening(choice.tool))
    for row in zip_longest(*[choice.pieces for choice in answer.choices]):
        for (before, after), piece in zip(frames, row, strict=True):
            if piece is not None:
                yield before + encode_basestring(piece).encode("utf-8", "replace") + after
    for index, choice in enumerate(answer.choices):
        yield _event(answer, usage, index, {}, choice.finish_reason)
    if usage:
        yield b"data: " + compact(_chunk(answer, []) | {"usage": _usage(answer)}) + b"\n\n"
    yield DONE


def error(message: str, kind: str, code: str | None = None) -> bytes:
    """An error body in OpenAI's shape."""
    return compact({"error": {"message": message, "type": kind, "param": None, "code": code}})


def _event(answer: Answer, usage: bool, index: int, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    chunk = _chunk(answer, [choice])
    return b"data: " + compact(chunk | {"usage": None} if usage else chunk) + b"\n\n"


def _chunk(answer: Answer, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": answer.id,
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": answer.model,
        "system_fingerprint": "mock",
        "choices": choices,
    }


def _opening(tool: ToolCall) -> dict[str, Any]:
    function = {"name": tool.name, "arguments": ""}
    if tool.legacy:
        return {"function_call": function}
    return {"tool_calls": [{"index": 0, "id": tool.id, "type": "function", "function": function}]}


def _piece(tool: ToolCall | None) -> dict[str, Any]:
    """The delta of an empty piece."""
    if tool is None:
        return {"content": ""}
    if tool.legacy:
        return {"function_call": {"arguments": ""}}
    return {"tool_calls": [{"index": 0, "function": {"arguments": ""}}]}


def _call(tool: ToolCall) -> dict[str, Any]:
    """The member of a message that calls a function."""
    function = {"name": tool.name, "arguments": tool.arguments}
    if tool.legacy:
        return {"function_call": function}
    return {"tool_calls": [{"id": tool.id, "type": "function", "function": function}]}


def _usage(answer: Answer) -> dict[str, Any]:
    written = 0
    for choice in answer.choices:  # one token for each delta with content, one for the name of a function
        written += len(words(choice.content or "")) if choice.tool is None else len(choice.pieces) + 1
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": written,
        "total_tokens": answer.prompt_tokens + written,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }
