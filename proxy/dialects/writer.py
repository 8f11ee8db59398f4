"""Writes an OpenAI answer, streamed or not, out of what a translated provider says piece by piece.

One writer serves one answer. A translator tells it what came, in the order in which it came, and takes the bytes: as
events when the client streams, as one JSON text at the end when it does not. What OpenAI promises of the shape is kept
here: the role once, in the first delta; `id`, `created` and `model` constant; usage in a last chunk of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.core.json_text import compact_nulled
from proxy.core.usage import UNBOUNDED, Usage, UsageBounds
from proxy.dialects.memory import ToolCall


@dataclass(slots=True)
class _Choice:
    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    begun: bool = False
    finish: str | None = None


class AnswerWriter:
    """What came so far. `take` gives the bytes that are due, `end` the rest."""

    def __init__(
        self,
        *,
        id: str,
        created: int,
        model: str,
        stream: bool,
        usage_asked: bool,
        functions: bool = False,
        seed: bytes = b"",
        bounds: UsageBounds = UNBOUNDED,
    ) -> None:
        """`functions`: the client speaks the older `functions`, so that its one call is a `function_call`.

        `bounds`: of the usage that is reported.
        """
        self.id = id
        self.seed = seed  # what ids that are made here follow from, beside `id`
        self.model = model  # the upstream's own name for it, once it has told
        self.usage: Usage | None = None
        self.bounds = bounds
        self.committed = False
        self._created = created
        self._stream = stream
        self._usage_asked = usage_asked
        self._functions = functions
        self._choices: dict[int, _Choice] = {}
        self._out: list[bytes] = []

    def begin(self, choice: int = 0) -> None:
        """The choice exists, although nothing of it has come yet."""
        self._delta({}, choice)

    def text(self, text: str, choice: int = 0) -> None:
        """A piece of the answer's text."""
        if text:
            self._choice(choice).text.append(text)
            self._delta({"content": text}, choice, commits=True)

    def reasoning(self, text: str, choice: int = 0) -> None:
        """A piece of the model's thinking."""
        if text:
            self._choice(choice).reasoning.append(text)
            self._delta({"reasoning_content": text}, choice, commits=True)

    def refusal(self, text: str, choice: int = 0) -> None:
        """A piece of a refusal."""
        if text:
            self._choice(choice).refusal.append(text)
            self._delta({"refusal": text}, choice, commits=True)

    def tool_call(
        self, place: int, id: str, name: str, choice: int = 0, extra: Mapping[str, Any] | None = None
    ) -> None:
        """A tool call begins; `place` counts the calls of the choice. `extra` stands beside `function`."""
        call = {"id": id, "type": "function", "function": {"name": name, "arguments": ""}, **(extra or {})}
        self._choice(choice).calls[place] = {**call, "function": dict(call["function"])}
        self._call_delta(place, call, choice)

    def arguments(self, place: int, fragment: str, choice: int = 0) -> None:
        """A piece of a call's arguments, JSON text."""
        if fragment:
            self._choice(choice).calls[place]["function"]["arguments"] += fragment
            self._call_delta(place, {"function": {"arguments": fragment}}, choice)

    def logprobs(self, tokens: list[dict[str, Any]], choice: int = 0) -> None:
        """The log probabilities of the next tokens, as OpenAI's `logprobs.content` has them."""
        if tokens:
            self._choice(choice).logprobs += tokens
            logprobs = {"content": tokens, "refusal": None}
            self._emit({"index": choice, "delta": self._role(choice), "logprobs": logprobs, "finish_reason": None})

    def extra(self, name: str, value: Any, choice: int = 0) -> None:
        """A further member of the message (such as `reasoning_details`); a list is added to what came before."""
        before = self._choice(choice).extra.get(name)
        both = isinstance(before, list) and isinstance(value, list)
        self._choice(choice).extra[name] = [*before, *value] if both else value  # type: ignore[misc]
        self._delta({name: value}, choice)

    def finish(self, reason: str, choice: int = 0) -> None:
        """The choice is finished; a second finish is passed over."""
        found = self._choice(choice)
        if found.finish is None:
            reason = "function_call" if self._functions and reason == "tool_calls" else reason
            found.finish = reason
            self.committed = True
            self._emit({"index": choice, "delta": self._role(choice), "logprobs": None, "finish_reason": reason})

    def take(self) -> bytes:
        """The events that are due; nothing when the client does not stream."""
        out = b"".join(self._out)
        self._out.clear()
        return out

    def end(self) -> bytes:
        """What is left: the last events of a stream, or the whole JSON answer."""
        if not self._stream:
            return compact_nulled(self._whole())
        if self._usage_asked and self.usage is not None:
            self._out.append(self._event({"choices": [], "usage": usage_json(self.usage)}))
        self._out.append(b"data: [DONE]\n\n")
        return self.take()

    def said(self, choice: int = 0) -> str:
        """The text so far."""
        return "".join(self._choice(choice).text)

    def calls(self, choice: int = 0) -> list[ToolCall]:
        """The calls so far, as the client has them."""
        made = [call for _, call in sorted(self._choice(choice).calls.items())]
        return [ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in made]

    def _choice(self, index: int) -> _Choice:
        return self._choices.setdefault(index, _Choice())

    def _role(self, choice: int) -> dict[str, Any]:
        found = self._choice(choice)
        if found.begun:
            return {}
        found.begun = True
        return {"role": "assistant", "content": ""}

    def _delta(self, delta: dict[str, Any], choice: int, *, commits: bool = False) -> None:
        self.committed = self.committed or commits
        whole = {**self._role(choice), **delta}
        self._emit({"index": choice, "delta": whole, "logprobs": None, "finish_reason": None})

    def _call_delta(self, place: int, call: dict[str, Any], choice: int) -> None:
        if not self._functions:
            self._delta({"tool_calls": [{"index": place, **call}]}, choice, commits=True)
        elif place == min(self._choice(choice).calls):  # the older form has room for one call
            self._delta({"function_call": call["function"]}, choice, commits=True)

    def _emit(self, choice: dict[str, Any]) -> None:
        if self._stream:
            self._out.append(self._event({"choices": [choice]}))

    def _event(self, members: dict[str, Any]) -> bytes:
        usage = {"usage": None} if self._usage_asked else {}
        return b"data: " + compact_nulled({**self._head("chat.completion.chunk"), **usage, **members}) + b"\n\n"

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self._created, "model": self.model}

    def _whole(self) -> dict[str, Any]:
        choices = [self._message(index, found) for index, found in sorted(self._choices.items())]
        usage = {"usage": usage_json(self.usage)} if self.usage else {}
        return {**self._head("chat.completion"), "choices": choices, **usage}

    def _message(self, index: int, found: _Choice) -> dict[str, Any]:
        text = "".join(found.text)
        message: dict[str, Any] = {"role": "assistant", "content": text if text or not found.calls else None}
        message["refusal"] = "".join(found.refusal) or None
        if found.reasoning:
            message["reasoning_content"] = "".join(found.reasoning)
        if found.calls and self._functions:
            message["function_call"] = found.calls[min(found.calls)]["function"]
        elif found.calls:
            message["tool_calls"] = [call for _, call in sorted(found.calls.items())]
        message |= found.extra
        logprobs = {"content": found.logprobs, "refusal": None} if found.logprobs else None
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": found.finish}


def invented_id(writer: AnswerWriter, place: int, choice: int = 0) -> str:
    """An id for a tool call that has none, or another one's: the same however the answer was cut.

    It follows from the request too, so that it is another one in each turn, whatever id the upstream's answer has.
    """
    digest = hashlib.sha256(f"{writer.id}/{choice}/{place}/".encode("utf-8", "replace") + writer.seed)
    return "call_" + digest.hexdigest()[:24]


def answer_id(call_id: str) -> str:
    """The id of an answer whose upstream names none: the call's own, as OpenAI writes ids."""
    return f"chatcmpl-{call_id.removeprefix('req_')}"


def is_legacy(body: Mapping[str, Any]) -> bool:
    """Whether the client speaks `functions` and must be answered with `function_call`."""
    return bool(body.get("functions")) and not body.get("tools")


def usage_json(usage: Usage) -> dict[str, Any]:
    """Usage as OpenAI writes it; `cache_write_tokens` only where there are any."""
    prompt = {"cached_tokens": usage.cached, "audio_tokens": 0}
    if usage.cache_write:
        prompt["cache_write_tokens"] = usage.cache_write
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "audio_tokens": 0},
    }
