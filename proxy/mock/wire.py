"""The mock's answers as bytes: one `chat.completion`, or the events of a stream, as the OpenAI API writes them.

Decides nothing about what the answer says; the only choice here is how it is cut into deltas.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from proxy.core.json_text import compact

CREATED = 1735689600  # the first second of 2025: answers are equal byte for byte, whenever they are made
DONE = b"data: [DONE]\n\n"

_WORDS = re.compile(r"\s+\S*|\S+")
_FRAGMENT = 12  # characters of tool arguments in one delta


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
        """What the deltas carry, joined the whole: words of the text, fragments of the arguments."""
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


def words(text: str) -> list[str]:
    """The words of a text, each with the white space before it; joined they are the text."""
    return _WORDS.findall(text)


def completion(answer: Answer) -> bytes:
    """The answer as one JSON body."""
    choices = [
        {"index": index, "message": _message(choice), "logprobs": None, "finish_reason": choice.finish_reason}
        for index, choice in enumerate(answer.choices)
    ]
    return compact(_envelope(answer, "chat.completion", choices) | {"usage": _usage(answer)})


def events(answer: Answer, *, usage: bool) -> Iterator[bytes]:
    """The answer as a stream, an event at a time; `usage` is `stream_options.include_usage`."""
    for delta in _deltas(answer):
        chunk = _envelope(answer, "chat.completion.chunk", [delta])
        yield _event(chunk | {"usage": None} if usage else chunk)
    if usage:
        yield _event(_envelope(answer, "chat.completion.chunk", []) | {"usage": _usage(answer)})
    yield DONE


def error(message: str, kind: str, code: str | None = None) -> bytes:
    """An error body in OpenAI's shape."""
    return compact({"error": {"message": message, "type": kind, "param": None, "code": code}})


def _deltas(answer: Answer) -> Iterator[dict[str, Any]]:
    """Every choice's opening, then the choices in turn, then how each of them finished."""
    for index, choice in enumerate(answer.choices):
        content = "" if choice.tool is None else None
        yield _delta(index, {"role": "assistant", "content": content, "refusal": None})
    for index, choice in enumerate(answer.choices):
        if choice.tool is not None:
            yield _delta(index, _opening(choice.tool))
    for row in zip_longest(*(choice.pieces for choice in answer.choices)):
        for index, piece in enumerate(row):
            if piece is not None:
                yield _delta(index, _piece(answer.choices[index].tool, piece))
    for index, choice in enumerate(answer.choices):
        yield _delta(index, {}, choice.finish_reason)


def _delta(index: int, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _opening(tool: ToolCall) -> dict[str, Any]:
    function = {"name": tool.name, "arguments": ""}
    if tool.legacy:
        return {"function_call": function}
    return {"tool_calls": [{"index": 0, "id": tool.id, "type": "function", "function": function}]}


def _piece(tool: ToolCall | None, piece: str) -> dict[str, Any]:
    if tool is None:
        return {"content": piece}
    if tool.legacy:
        return {"function_call": {"arguments": piece}}
    return {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}


def _message(choice: Choice) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": choice.content, "refusal": None}
    if choice.tool is not None:
        function = {"name": choice.tool.name, "arguments": choice.tool.arguments}
        if choice.tool.legacy:
            message["function_call"] = function
        else:
            message["tool_calls"] = [{"id": choice.tool.id, "type": "function", "function": function}]
    return message


def _envelope(answer: Answer, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": answer.id,
        "object": kind,
        "created": CREATED,
        "model": answer.model,
        "system_fingerprint": "mock",
        "choices": choices,
    }


def _usage(answer: Answer) -> dict[str, Any]:
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + compact(chunk) + b"\n\n"
