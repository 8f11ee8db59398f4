"""Writes an OpenAI answer, streamed or not, from the pieces of a translated answer.

One writer serves one answer. A decoder adds pieces in the order in which they come, and takes the bytes: events if the
client streams, else one JSON text at the end. The writer keeps OpenAI's shape: the role once, in the first delta; `id`,
`created` and `model` constant; usage in a last chunk of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from json.encoder import encode_basestring
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
    arguments: dict[int, list[str]] = field(default_factory=dict)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    begun: bool = False
    finish: str | None = None

    def whole_calls(self) -> list[dict[str, Any]]:
        """The calls with their arguments, in their order."""
        return [
            {**call, "function": {**call["function"], "arguments": "".join(self.arguments[place])}}
            for place, call in sorted(self.calls.items())
        ]


class AnswerWriter:
    """One answer. `take` returns the bytes that are due, `end` the rest."""

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
        searches: bool = False,
    ) -> None:
        """`functions`: the client uses the older `functions`, so that its one call is a `function_call`.

        `searches`: the client's surface reads `web_searches`, which OpenAI's chat does not have.
        `seed`: generated ids are derived from it and from `id`. `bounds`: of the usage that is reported.
        """
        self.id = id
        self.seed = seed
        self.model = model
        self.usage: Usage | None = None
        self.bounds = bounds
        self.committed = False
        self._created = created
        self._stream = stream
        self._usage_asked = usage_asked
        self._functions = functions
        self._searches = searches
        self._choices: dict[int, _Choice] = {}
        self._out: list[bytes] = []
        self._templates: dict[Hashable, tuple[bytes, bytes]] = {}  # events without the string that they add

    def identify(self, *, id: str | None = None, model: str | None = None) -> None:
        """Take over the upstream's id of the answer, or its name of the model."""
        self.id = id or self.id
        self.model = model or self.model
        self._templates.clear()

    def begin(self, choice: int = 0) -> None:
        """Write a choice that has no content yet."""
        self._delta({}, choice)

    def text(self, text: str, choice: int = 0) -> None:
        """A piece of the answer's text."""
        if text:
            self._choice(choice).text.append(text)
            self._string("content", text, choice)

    def reasoning(self, text: str, choice: int = 0) -> None:
        """A piece of the model's thinking."""
        if text:
            self._choice(choice).reasoning.append(text)
            self._string("reasoning_content", text, choice)

    def refusal(self, text: str, choice: int = 0) -> None:
        """A piece of a refusal."""
        if text:
            self._choice(choice).refusal.append(text)
            self._string("refusal", text, choice)

    def tool_call(
        self, place: int, id: str, name: str, choice: int = 0, extra: Mapping[str, Any] | None = None
    ) -> None:
        """A tool call begins; `place` counts the calls of the choice. `extra` are members beside `function`."""
        call = {"id": id, "type": "function", "function": {"name": name, "arguments": ""}, **(extra or {})}
        self._choice(choice).calls[place] = call
        self._choice(choice).arguments[place] = []
        if delta := self._call_delta(place, call, choice):
            self._delta(delta, choice, commits=True)

    def arguments(self, place: int, fragment: str, choice: int = 0) -> None:
        """A piece of a call's arguments, JSON text."""
        if not fragment:
            return
        self._choice(choice).arguments[place].append(fragment)
        key = "arguments", place, choice
        if not self._stream:
            self.committed = True
        elif key in self._templates:
            self._fill(key, fragment)
        elif delta := self._call_delta(place, {"function": {"arguments": ""}}, choice):
            self._prepare(key, delta, b'"arguments":', choice)
            self._fill(key, fragment)

    def logprobs(self, tokens: list[dict[str, Any]], choice: int = 0) -> None:
        """The log probabilities of the next tokens, as OpenAI's `logprobs.content` has them."""
        if tokens:
            self._choice(choice).logprobs += tokens
            logprobs = {"content": tokens, "refusal": None}
            self._emit({"index": choice, "delta": self._role(choice), "logprobs": logprobs, "finish_reason": None})

    def extra(self, name: str, value: Any, choice: int = 0) -> None:
        """Another member of the message (such as `reasoning_details`); a list is appended to the one before."""
        before = self._choice(choice).extra.get(name)
        both = isinstance(before, list) and isinstance(value, list)
        self._choice(choice).extra[name] = [*before, *value] if both else value  # type: ignore[misc]
        self._delta({name: value}, choice)

    def search(self, queries: list[str], pages: list[str] | None, choice: int = 0) -> None:
        """A web search that the provider has made; `pages` are the URLs that it found, `None` if it failed."""
        if self._searches:
            self.extra("web_searches", [{"queries": queries, "pages": pages}], choice)

    def finish(self, reason: str, choice: int = 0) -> None:
        """The choice is finished; a second finish is ignored."""
        state = self._choice(choice)
        if state.finish is None:
            reason = "function_call" if self._functions and reason == "tool_calls" else reason
            state.finish = reason
            self.committed = True
            self._emit({"index": choice, "delta": self._role(choice), "logprobs": None, "finish_reason": reason})

    def take(self) -> bytes:
        """Return the events that are due; nothing if the client does not stream."""
        out = b"".join(self._out)
        self._out.clear()
        return out

    def end(self) -> bytes:
        """Return the last events of a stream, or the whole JSON answer."""
        if not self._stream:
            return compact_nulled(self._whole())
        if self._usage_asked and self.usage is not None:
            self._out.append(self._event({"choices": [], "usage": usage_json(self.usage)}))
        self._out.append(b"data: [DONE]\n\n")
        return self.take()

    def text_of(self, choice: int = 0) -> str:
        """The text so far."""
        return "".join(self._choice(choice).text)

    def calls(self, choice: int = 0) -> list[ToolCall]:
        """The calls so far, as the client has them."""
        calls = self._choice(choice).whole_calls()
        return [ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in calls]

    def _choice(self, index: int) -> _Choice:
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = _Choice()
        return state

    def _role(self, choice: int) -> dict[str, Any]:
        state = self._choice(choice)
        if state.begun:
            return {}
        state.begun = True
        return {"role": "assistant", "content": ""}

    def _string(self, name: str, text: str, choice: int) -> None:
        """Write a delta that adds one string."""
        key = name, choice
        if key in self._templates:
            self._fill(key, text)
        elif self._stream and self._choice(choice).begun:
            self._prepare(key, {name: ""}, f'"{name}":'.encode(), choice)
            self._fill(key, text)
        else:
            self._delta({name: text}, choice, commits=True)

    def _prepare(self, key: Hashable, delta: dict[str, Any], name: bytes, choice: int) -> None:
        """Keep the event of `delta` without its only string, an empty one behind `name`."""
        event = self._event({"choices": [{"index": choice, "delta": delta, "logprobs": None, "finish_reason": None}]})
        head, _, tail = event.rpartition(name + b'""')
        self._templates[key] = head + name, tail

    def _fill(self, key: Hashable, text: str) -> None:
        """Write the event that is kept under `key`, with `text` as its string."""
        self.committed = True
        head, tail = self._templates[key]
        self._out.append(head + encode_basestring(text).encode("utf-8", "replace") + tail)

    def _delta(self, delta: dict[str, Any], choice: int, *, commits: bool = False) -> None:
        self.committed = self.committed or commits
        whole = {**self._role(choice), **delta}
        self._emit({"index": choice, "delta": whole, "logprobs": None, "finish_reason": None})

    def _call_delta(self, place: int, call: dict[str, Any], choice: int) -> dict[str, Any] | None:
        """The delta of a call or a part of it; `None` for a call that the older form has no room for."""
        if not self._functions:
            return {"tool_calls": [{"index": place, **call}]}
        return {"function_call": call["function"]} if place == min(self._choice(choice).calls) else None

    def _emit(self, choice: dict[str, Any]) -> None:
        if self._stream:
            self._out.append(self._event({"choices": [choice]}))

    def _event(self, members: dict[str, Any]) -> bytes:
        usage = {"usage": None} if self._usage_asked else {}
        return b"data: " + compact_nulled({**self._head("chat.completion.chunk"), **usage, **members}) + b"\n\n"

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self._created, "model": self.model}

    def _whole(self) -> dict[str, Any]:
        choices = [self._message(index, state) for index, state in sorted(self._choices.items())]
        usage = {"usage": usage_json(self.usage)} if self.usage else {}
        return {**self._head("chat.completion"), "choices": choices, **usage}

    def _message(self, index: int, state: _Choice) -> dict[str, Any]:
        text, calls = "".join(state.text), state.whole_calls()
        message: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None}
        message["refusal"] = "".join(state.refusal) or None
        if state.reasoning:
            message["reasoning_content"] = "".join(state.reasoning)
        if calls and self._functions:
            message["function_call"] = calls[0]["function"]
        elif calls:
            message["tool_calls"] = calls
        message |= state.extra
        logprobs = {"content": state.logprobs, "refusal": None} if state.logprobs else None
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": state.finish}


def generated_id(writer: AnswerWriter, place: int, choice: int = 0) -> str:
    """An id for a tool call without one, or with that of another call; it does not depend on the answer's chunks.

    It depends on the request, so that it differs between turns even if the ids of the upstream's answers do not.
    """
    digest = hashlib.sha256(f"{writer.id}/{choice}/{place}/".encode("utf-8", "replace") + writer.seed)
    return "call_" + digest.hexdigest()[:24]


def answer_id(call_id: str) -> str:
    """The id of an answer to which the upstream gives none: the call's own, in OpenAI's form."""
    return f"chatcmpl-{call_id.removeprefix('req_')}"


def is_legacy(body: Mapping[str, Any]) -> bool:
    """Whether the client uses `functions`, and must get `function_call`."""
    return bool(body.get("functions")) and not body.get("tools")


def usage_json(usage: Usage) -> dict[str, Any]:
    """Usage as OpenAI writes it; `cache_write_tokens` only where there are any."""
    media = usage.media
    prompt = {"cached_tokens": usage.cached, "audio_tokens": media.input_audio if media else 0}
    if usage.cache_write:
        prompt["cache_write_tokens"] = usage.cache_write
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": media.output_audio if media else 0,
        },
    }
