"""Writes the answers of chats as Google's: `GenerateAnswer` a whole one, `GenerateStream` a stream.

The last object has the calls, the finish and the usage. A stream that breaks off ends with the text of an error, which
clients cannot take for an end.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from proxy.core.call import Call
from proxy.core.errors import ProxyError
from proxy.core.json_text import compact_nulled, object_of
from proxy.core.record import Record
from proxy.core.sse import Events, data_of
from proxy.core.usage import count
from proxy.surfaces.carriers import seal
from proxy.surfaces.decision import decision_record
from proxy.surfaces.generate.candidate import Candidate
from proxy.surfaces.generate.errors import error_body, stream_error

_END = b"\r\n\r\n"


class _Answer:
    """The candidates of one answer, and what is known of it as a whole."""

    def __init__(self, call: Call, record: Record, *, thoughts: bool) -> None:
        chosen = record.chosen
        provider = chosen.provider if chosen is not None else None
        self._call = call
        self._record = record
        self._new = partial(
            Candidate,
            partial(seal, call, provider=provider.name if provider is not None else ""),
            provider.dialect if provider is not None else "openai",
            thoughts=thoughts,
        )
        self._candidates: dict[int, Candidate] = {}
        self._usage: Mapping[str, Any] = {}
        self._tail: dict[str, Any] = {}  # the version of the model, and the id of the answer

    def read(self, chunk: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
        """Read a canonical object, whose choices have `name`; return candidates with the parts that it adds."""
        if not self._tail:
            model, id = chunk.get("model"), chunk.get("id")
            self._tail = {"modelVersion": str(model or ""), "responseId": str(id or self._call.id)}
        if isinstance(usage := chunk.get("usage"), dict):
            self._usage = usage
        choices = chunk.get("choices")
        found = []
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                index = choice.get("index")
                index = index if isinstance(index, int) else 0
                if parts := self._choice(choice, index, choice.get(name)):
                    found.append({"content": {"parts": parts, "role": "model"}, "index": index})
        return found

    def _choice(self, choice: Mapping[str, Any], index: int, content: Any) -> list[dict[str, Any]]:
        candidate = self._candidates.get(index)
        if candidate is None:
            candidate = self._candidates[index] = self._new()
        if choice.get("logprobs") is not None:
            candidate.take_logprobs(choice["logprobs"])
        if isinstance(finish := choice.get("finish_reason"), str):
            candidate.finish = finish
        return candidate.take(content) if isinstance(content, dict) else []

    def last(self) -> list[dict[str, Any]]:
        """Return the candidates with their last parts and finishes."""
        if not self._candidates:
            self._candidates[0] = self._new()
        return [{**candidate.last(), "index": index} for index, candidate in sorted(self._candidates.items())]

    def object(self, candidates: list[dict[str, Any]], *, last: bool = False) -> bytes:
        """Return one object of the answer as JSON."""
        members: dict[str, Any] = {"candidates": candidates}
        if self._usage:
            members["usageMetadata"] = usage_metadata(self._usage)
        members |= self._tail
        if last and self._call.options.debug:
            members["router"] = decision_record(self._record)
        return compact_nulled(members)


class GenerateStream:
    """The encoder of a stream: events, or the items of an array."""

    def __init__(self, call: Call, record: Record, *, thoughts: bool) -> None:
        self._events = Events()
        self._answer = _Answer(call, record, thoughts=thoughts)
        self._array = call.native is not None and not call.native.events
        self._begun = False

    def feed(self, data: bytes) -> bytes:
        """Return the objects for canonical events; the last one comes from `finish`."""
        return b"".join([self._read(event) for event in self._events.feed(data)])

    def finish(self) -> bytes:
        """Return the last object."""
        rest = self._read(self._events.rest())
        return rest + self._item(self._answer.object(self._answer.last(), last=True)) + (b"]" if self._array else b"")

    def fail(self, error: ProxyError) -> bytes:
        """Return the error."""
        return self._item(error_body(error)) + b"]" if self._array else stream_error(error)

    def _read(self, event: bytes) -> bytes:
        data = data_of(event)
        chunk = object_of(data) if data and data[:1] == b"{" else None
        if chunk is None:
            return b""
        candidates = self._answer.read(chunk, "delta")
        return self._item(self._answer.object(candidates)) if candidates else b""

    def _item(self, data: bytes) -> bytes:
        if not self._array:
            return b"data: " + data + _END
        separator = b",\r\n" if self._begun else b"["
        self._begun = True
        return separator + data


class GenerateAnswer:
    """The encoder of a whole answer."""

    def __init__(self, call: Call, record: Record, *, thoughts: bool) -> None:
        self._body = b""
        self._answer = _Answer(call, record, thoughts=thoughts)

    def feed(self, data: bytes) -> bytes:
        """Keep the bytes until the object is whole."""
        self._body += data
        return b""

    def finish(self) -> bytes:
        """Return the answer."""
        found = self._answer.read(object_of(self._body) or {}, "message")
        before = {candidate["index"]: candidate["content"]["parts"] for candidate in found}
        candidates = self._answer.last()
        for candidate in candidates:
            content = candidate["content"]
            content["parts"] = _joined(before.get(candidate["index"], []), content["parts"])
        return self._answer.object(candidates, last=True)

    def fail(self, error: ProxyError) -> bytes:
        """Return the error."""
        return error_body(error)


def usage_metadata(usage: Mapping[str, Any]) -> dict[str, int]:
    """Return OpenAI's usage as Google's: thoughts are beside the candidates' tokens."""
    prompt, completion = count(usage.get("prompt_tokens")) or 0, count(usage.get("completion_tokens")) or 0
    thoughts = _detail(usage, "completion_tokens_details", "reasoning_tokens")
    cached = _detail(usage, "prompt_tokens_details", "cached_tokens")
    details = {"thoughtsTokenCount": thoughts, "cachedContentTokenCount": cached}
    return {
        "promptTokenCount": prompt,
        "candidatesTokenCount": max(0, completion - thoughts),
        "totalTokenCount": prompt + completion,
        **{name: number for name, number in details.items() if number},
    }


def _detail(usage: Mapping[str, Any], group: str, name: str) -> int:
    details = usage.get(group)
    return max(0, count(details.get(name)) or 0) if isinstance(details, dict) else 0


def _joined(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return all parts; an empty text at the end gives its signature to the text before it."""
    last = after[-1]
    if last.get("text") != "" or not before:
        return before + after
    if "text" in before[-1] and "thought" not in before[-1]:
        return [*before[:-1], last | before[-1]]
    return before if len(last) == 1 else before + after
