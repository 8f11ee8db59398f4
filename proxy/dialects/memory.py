"""One call's access to values stored with earlier answers of the same conversation.

An entry belongs to one caller and one deployment. It is returned only for a history with the same messages before
the assistant's turn and the same calls in it. Ids of calls are not sufficient, because some upstreams always use
`call_0`. If a client changes its history, no entry matches, and the request is sent without the value.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from proxy.core.call import Call
from proxy.core.dialects import DialectName
from proxy.core.json_text import nested_is_expensive, value_of
from proxy.core.model import Deployment
from proxy.core.recall import Recall

_IGNORED = ("cache_control", "index")  # members of parts that clients add or remove between turns


class ToolCall(NamedTuple):
    """A tool call as the client has it; `arguments` is JSON text or, from some clients, an object."""

    id: str | None
    name: str
    arguments: Any


class Memory:
    """Stores values for the answer to a call, and finds those of earlier turns."""

    def __init__(self, recall: Recall, call: Call, deployment: Deployment) -> None:
        self._recall = recall
        self._call = call
        self._deployment = deployment
        self._messages: Sequence[Mapping[str, Any]] = call.body["messages"]
        self._known: _History | None = None

    def keep(self, calls: Sequence[ToolCall], value: Any) -> None:
        """Store `value` for the answer with `calls`."""
        if calls and calls[0].id:
            self._recall.keep(self._owner, calls[0].id, self._proof(len(self._messages), calls), value)

    def find(self, place: int, calls: Sequence[ToolCall]) -> Any | None:
        """Return the value stored for the message at index `place` with `calls`, or `None`."""
        if not calls or not calls[0].id:
            return None
        return self._recall.find(self._owner, calls[0].id, lambda: self._proof(place, calls))

    @property
    def _owner(self) -> str:
        return f"{self._deployment.provider.dialect}:{self._deployment.name}:{self._call.principal.name}"

    def _proof(self, place: int, calls: Sequence[ToolCall]) -> str:
        self._known = self._known or _History(self._messages)
        return self._known.proof(place, calls)


def family_in_memory(recall: Recall, call: Call) -> DialectName | None:
    """Return the family whose signatures of an open tool loop are in memory, for a client that does not return them.

    A loop is open if results of tools follow the last message of the assistant.
    """
    if recall.is_empty or b'"tool_call_id"' not in call.raw:
        return None  # without decoding the messages
    messages: Sequence[Mapping[str, Any]] = call.body["messages"]
    place = len(messages) - 1
    while place > 0 and messages[place].get("role") == "tool":
        place -= 1
    listed = messages[place].get("tool_calls") if place < len(messages) - 1 else None
    calls = [_tool_call(each) for each in listed] if isinstance(listed, list) and listed else []
    if not calls or not calls[0].id or not recall.issued(calls[0].id):
        return None
    for deployment in call.snapshot.deployments.values():
        if Memory(recall, call, deployment).find(place, calls) is not None:
            return deployment.provider.dialect
    return None


class _History:
    """Digests of the prefixes of a conversation; each message is read once."""

    def __init__(self, messages: Sequence[Mapping[str, Any]]) -> None:
        self._messages = messages
        self._digest = hashlib.blake2b(digest_size=16)
        self._done = 0

    def proof(self, place: int, calls: Sequence[ToolCall]) -> str:
        """Return a digest of the messages before index `place` and of `calls`."""
        if place < self._done:
            self._digest, self._done = hashlib.blake2b(digest_size=16), 0
        for message in self._messages[self._done : place]:
            self._digest.update(_canonical(_facts(message)))
        self._done = place
        digest = self._digest.copy()
        digest.update(_canonical([_call(*call) for call in calls]))
        return digest.hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _facts(message: Mapping[str, Any]) -> list[Any]:
    """Return the content of a message without details that clients change."""
    calls = message.get("tool_calls")
    return [
        message.get("role"),
        _content(message.get("content")),
        [_call_of(call) for call in calls if isinstance(call, dict)] if isinstance(calls, list) else [],
        message.get("function_call"),
        message.get("tool_call_id"),
    ]


def _content(content: Any) -> list[Any]:
    if not isinstance(content, list):
        return [content.strip()] if isinstance(content, str) else []
    texts = [part if isinstance(part, str) else part.get("text") for part in content]
    others = [_part(part) for part in content if isinstance(part, dict) and not isinstance(part.get("text"), str)]
    return ["".join(text for text in texts if isinstance(text, str)).strip(), *others]


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if value is not None and name not in _IGNORED}


def _call_of(call: Mapping[str, Any]) -> list[Any]:
    return _call(*_tool_call(call))


def _tool_call(call: Any) -> ToolCall:
    """Return a call of a message; a wrong type gives one that was never issued."""
    call = call if isinstance(call, dict) else {}
    id, function = call.get("id"), call.get("function")
    if not isinstance(function, dict):
        function = dict[str, Any]()
    return ToolCall(id if isinstance(id, str) else None, function.get("name"), function.get("arguments"))


def _call(id: Any, name: Any, arguments: Any) -> list[Any]:
    """Return a call with parsed arguments, because clients serialize them differently."""
    if isinstance(arguments, str):
        value = None if nested_is_expensive(arguments) else value_of(arguments)
        arguments = arguments if value is None else value
    return [id, name, arguments]
