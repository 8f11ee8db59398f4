"""`POST /v1/chat/completions`: reads the body, which is also the internal form of a call.

The body is read as far as routing needs it (`checks.py`); the proxy's own options (`router`) are read in
`surfaces/options.py`. Answers with the decision record are written here too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from proxy.core.body import parse
from proxy.core.call import Call
from proxy.core.json_text import compact_nulled
from proxy.core.messages import UNKNOWN
from proxy.core.principal import UNKNOWN_CALLER, Principal
from proxy.core.snapshot import Snapshot
from proxy.core.sse import DONE, Events, data_of
from proxy.surfaces.headers import forwarded
from proxy.surfaces.openai.checks import Shape, check, check_repeated, read_shape
from proxy.surfaces.options import read_options

_NONE: frozenset[str] = frozenset()
_MESSAGES = frozenset(("messages",))


def read_chat(
    raw: bytes,
    headers: Mapping[str, str],
    *,
    id: str,
    request_id: str,
    snapshot: Snapshot,
    principal: Principal = UNKNOWN_CALLER,
) -> Call:
    """Read and check a body. Raises `InvalidRequest` that names the parameter and what it should be.

    `headers` have lower-case names; `id` is the proxy's, `request_id` what the client gets back.
    """
    shape = read_shape(raw)
    document = parse(raw, checked=_NONE if shape is None or shape.messages.large else _MESSAGES)
    body = document.body
    if shape is None or document.repeated:
        check_repeated(document.repeated)
        check(body)
        options = body.get("stream_options") or {}
        shape = Shape(body["model"], bool(body.get("stream")), bool(options.get("include_usage")), UNKNOWN)
    return Call(
        id=id,
        request_id=request_id,
        endpoint="chat",
        raw=raw,
        body=body,
        model=shape.model,
        stream=shape.stream,
        usage_asked=shape.usage_asked,
        options=read_options(body.pop("router") if "router" in document.spans else None, headers),
        headers=forwarded(headers),
        snapshot=snapshot,
        principal=principal,
        spans=document.spans,
        messages=shape.messages,
    )


class DebugStream:
    """Adds the decision record to a stream, as a chunk before `[DONE]`."""

    def __init__(self) -> None:
        self._events = Events()
        self._head: dict[str, Any] = {}
        self._sent = False

    def feed(self, chunk: bytes, router: Callable[[], Mapping[str, Any]]) -> bytes:
        """Return the bytes to send for `chunk`; `router` returns the decision record when it is due."""
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
        """Return the chunk with the record the first time, later nothing."""
        if self._sent:
            return b""
        self._sent = True
        chunk = {**self._head, "object": "chat.completion.chunk", "choices": [], "router": router()}
        return b"data: " + compact_nulled(chunk) + b"\n\n"

    def rest(self) -> bytes:
        """Return the bytes of an unfinished event."""
        return self._events.rest()

    def _remember(self, data: bytes) -> None:
        try:
            value = json.loads(data)
        except ValueError:
            return
        if isinstance(value, dict) and value.get("id"):
            self._head = {name: value[name] for name in ("id", "created", "model") if name in value}


def _is_error(data: bytes) -> bool:
    """Return whether a chunk is an error; some providers put `"error": null` into every chunk."""
    if not data.lstrip().startswith(b'{"error"'):
        return False
    try:
        return bool(json.loads(data)["error"])
    except (ValueError, RecursionError):
        return True


def with_router(body: bytes, router: Mapping[str, Any]) -> bytes:
    """Return a JSON object with the decision record as its last member; the others keep their bytes.

    The object is not parsed, because answers of upstreams may contain what bodies of clients must not: `NaN`, deep
    nesting.
    """
    end = body.rindex(b"}")
    return body[:end] + b',"router":' + compact_nulled(router) + body[end:]
