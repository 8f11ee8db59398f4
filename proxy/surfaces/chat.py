"""`POST /v1/chat/completions`: the canonical form.

Reads a body just as far as routing needs it and refuses what no upstream could take; everything else is the upstream's
to judge. The options of our own (`router`) are read here and in `surfaces/options.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from proxy.core.body import Document, parse
from proxy.core.call import Call
from proxy.core.errors import InvalidRequest
from proxy.core.json_text import compact_nulled
from proxy.core.snapshot import Snapshot
from proxy.core.sse import DONE, Events, data_of
from proxy.surfaces.headers import forwarded
from proxy.surfaces.options import read_options

_EDITED = ("model", "stream", "stream_options", "router")  # what we read or edit must not be ambiguous


def read_chat(raw: bytes, headers: Mapping[str, str], *, id: str, request_id: str, snapshot: Snapshot) -> Call:
    """Read and check a body. Raises `InvalidRequest` that names the parameter and what it should be.

    `headers` have lower-case names; `id` is ours, `request_id` what the client gets back.
    """
    document = parse(raw)
    _check(document)
    body = document.value
    options = read_options(body.pop("router", None), headers)
    stream_options = body.get("stream_options") or {}
    return Call(
        id=id,
        request_id=request_id,
        endpoint="chat",
        raw=raw,
        body=body,
        model=body["model"],
        stream=bool(body.get("stream")),
        usage_asked=bool(stream_options.get("include_usage")),
        options=options,
        headers=forwarded(headers),
        snapshot=snapshot,
        spans=document.spans,
    )


def _check(document: Document) -> None:
    for name in _EDITED:
        if name in document.repeated:
            raise InvalidRequest(f"`{name}` must be given once; the body has it twice.", param=name)
    body = document.value
    model = body.get("model")
    if model is None or model == "":
        raise InvalidRequest("You must provide `model`: a name of `GET /v1/models`, such as `auto`.", param="model")
    for name, (wanted, check) in _TYPES.items():
        if body.get(name) is not None and not check(body[name]):
            raise InvalidRequest(f"`{name}` must be {wanted}.", param=name)
    _check_messages(body.get("messages"))
    usage = (body.get("stream_options") or {}).get("include_usage")
    if usage is not None and not isinstance(usage, bool):
        raise InvalidRequest("`stream_options.include_usage` must be a boolean.", param="stream_options")


def _check_messages(messages: Any) -> None:
    if messages is None:
        raise InvalidRequest("You must provide `messages`: a list of messages.", param="messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("`messages` must be a list with at least one message.", param="messages")
    for place, message in enumerate(messages):
        if not isinstance(message, dict):
            raise InvalidRequest(f"`messages[{place}]` must be an object.", param=f"messages[{place}]")
        if not isinstance(message.get("role"), str):
            raise InvalidRequest(f"`messages[{place}].role` must be a string.", param=f"messages[{place}].role")
        content = message.get("content")
        parts = content if isinstance(content, list) else ()
        if not isinstance(content, (str, list, type(None))) or not all(isinstance(part, (dict, str)) for part in parts):
            raise InvalidRequest(
                f"`messages[{place}].content` must be a string or a list of parts.",
                param=f"messages[{place}].content",
            )


def _is(*types: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, types) and (bool in types or not isinstance(value, bool))


def _is_stop(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


_NUMBER = ("a number", _is(int, float))
_COUNT = ("a positive integer", lambda value: _is(int)(value) and value > 0)
_CEILING = ("a positive integer, or -1 for no limit", lambda value: _is(int)(value) and (value > 0 or value == -1))
_OBJECT = ("an object", _is(dict))
_TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "model": ("a string", _is(str)),
    "stream": ("a boolean", _is(bool)),
    "stream_options": _OBJECT,
    "n": _COUNT,
    "max_tokens": _CEILING,
    "max_completion_tokens": _CEILING,
    "temperature": _NUMBER,
    "top_p": _NUMBER,
    "presence_penalty": _NUMBER,
    "frequency_penalty": _NUMBER,
    "seed": ("an integer", _is(int)),
    "stop": ("a string or a list of strings", _is_stop),
    "tools": ("a list of objects", _is_list_of_objects),
    "functions": ("a list of objects", _is_list_of_objects),
    "tool_choice": ("a string or an object", _is(str, dict)),
    "response_format": _OBJECT,
    "user": ("a string", _is(str)),
    "parallel_tool_calls": ("a boolean", _is(bool)),
    "logprobs": ("a boolean", _is(bool)),
}


class DebugStream:
    """Adds the decision record to a stream, as one more chunk before `[DONE]`."""

    def __init__(self) -> None:
        self._events = Events()
        self._head: dict[str, Any] = {}
        self._sent = False

    def feed(self, chunk: bytes, router: Callable[[], Mapping[str, Any]]) -> bytes:
        """What goes out for `chunk`; `router` gives the decision record when it is due."""
        out = []
        for event in self._events.feed(chunk):
            data = data_of(event)
            if data is not None and (data.strip() == DONE or _is_error(data)):
                out.append(self.last(router))
            elif data is not None and not self._head:
                self._remember(data)
            out.append(event)
        return b"".join(out)

    def last(self, router: Callable[[], Mapping[str, Any]]) -> bytes:
        """The chunk with the record, once."""
        if self._sent:
            return b""
        self._sent = True
        chunk = {**self._head, "object": "chat.completion.chunk", "choices": [], "router": router()}
        return b"data: " + compact_nulled(chunk) + b"\n\n"

    def rest(self) -> bytes:
        """What has not been given on yet."""
        return self._events.rest()

    def _remember(self, data: bytes) -> None:
        try:
            value = json.loads(data)
        except ValueError:
            return
        if isinstance(value, dict) and value.get("id"):
            self._head = {name: value[name] for name in ("id", "created", "model") if name in value}


def _is_error(data: bytes) -> bool:
    """Some providers put `"error": null` into every chunk."""
    if not data.lstrip().startswith(b'{"error"'):
        return False
    try:
        return bool(json.loads(data)["error"])
    except (ValueError, RecursionError):
        return True


def with_router(body: bytes, router: Mapping[str, Any]) -> bytes:
    """A JSON answer, an object with members, with the decision record as its last; the others keep their bytes.

    Not parsed again: what an upstream may send (`NaN`, deep nesting) is wider than what we take from clients.
    """
    end = body.rindex(b"}")
    return body[:end] + b',"router":' + compact_nulled(router) + body[end:]
