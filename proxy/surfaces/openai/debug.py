"""Answers with the decision record, for calls with `router.debug`: the encoders `DebugAnswer` and `DebugStream`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from proxy.core.errors import ProxyError
from proxy.core.json_text import compact_nulled
from proxy.core.sse import DONE, Events, data_of
from proxy.surfaces.openai.errors import error_event

Decide = Callable[[], Mapping[str, Any]]  # returns the decision record; called when it is due


class DebugAnswer:
    """Adds the decision record to a JSON object, as its last member `router`; the other members keep their bytes.

    The object is not parsed, because answers of upstreams may contain what bodies of clients must not: `NaN`, deep
    nesting.
    """

    def __init__(self, decide: Decide) -> None:
        self._decide = decide
        self._body = b""

    def feed(self, data: bytes) -> bytes:
        """Keep the bytes until the object is whole."""
        self._body += data
        return b""

    def finish(self) -> bytes:
        """Return the object with the record."""
        end = self._body.rindex(b"}")
        return self._body[:end] + b',"router":' + compact_nulled(self._decide()) + self._body[end:]

    def fail(self, error: ProxyError) -> bytes:
        """Return nothing: what is not whole must not look like it."""
        return b""


class DebugStream:
    """Adds the decision record to a stream, as a chunk before `[DONE]`, before an error or at the end."""

    def __init__(self, decide: Decide) -> None:
        self._decide = decide
        self._events = Events()
        self._head: dict[str, Any] = {}
        self._sent = False

    def feed(self, data: bytes) -> bytes:
        """Return the events, with the record before the event that must be last."""
        out = []
        for event in self._events.feed(data):
            data = data_of(event) or b""
            if data.strip() == DONE or _is_error(data):
                out.append(self._chunk())
            elif data and not self._head:
                self._remember(data)
            out.append(event)
        return b"".join(out)

    def finish(self) -> bytes:
        """Return the record, if it is still due, and an event without its empty line."""
        return self._chunk() + self._events.rest()

    def fail(self, error: ProxyError) -> bytes:
        """Return the record, if it is still due, and the error."""
        return self._chunk() + error_event(error)

    def _chunk(self) -> bytes:
        """Return the chunk with the record the first time, later nothing."""
        if self._sent:
            return b""
        self._sent = True
        chunk = {**self._head, "object": "chat.completion.chunk", "choices": [], "router": self._decide()}
        return b"data: " + compact_nulled(chunk) + b"\n\n"

    def _remember(self, data: bytes) -> None:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
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
