"""Decoders of endpoints other than chat: embeddings, images, audio, moderations, legacy completions.

Answers are relayed unchanged if they have the shape of their endpoint. An error in a 200, incomplete JSON, an empty
body, the answer of another endpoint, and events that stop before the last one are failures.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping
from typing import Any

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.json_text import object_of, value_of
from proxy.core.sse import Events, data_of
from proxy.core.usage import UNBOUNDED, Usage, UsageBounds
from proxy.dialects.error_details import is_error
from proxy.dialects.held import LIMIT, HeldAnswer
from proxy.dialects.openai.errors import failure_in_200
from proxy.dialects.openai.events import EventRelay
from proxy.dialects.openai.plain import JsonDecoder
from proxy.dialects.openai.typed import Vectors, vectors_of

_LAST = (".done", ".completed")  # how the types of the last events of images and audio end
_SNIFFED = 64 * 1024  # leading bytes that look like text, after which a body is treated as audio
_TEXT = frozenset({*range(32, 256), *b"\t\r\n"})  # bytes of text in UTF-8
_PLAIN = bytes(sorted(_TEXT))
_HEAD = 1024  # bytes that are searched for the beginning of a text
_BEGINS_TEXT = (b"{", b"[", b"<", b'"', b"data:", b"event:")


def _is_choice(item: Mapping[str, Any]) -> bool:
    other = "message" in item or "delta" in item
    return isinstance(item.get("text"), str) or (bool(item.get("finish_reason")) and not other)


def _is_vector(item: Mapping[str, Any]) -> bool:
    """Whether an item is an embedding: numbers, base64, or several vectors in a list or an object."""
    vector = item.get("embedding")
    if isinstance(vector, dict):
        return bool(vector) and not is_error(vector, "float")
    while isinstance(vector, list) and vector and isinstance(vector[0], list):
        vector = vector[0]
    if isinstance(vector, list):
        return bool(vector) and type(vector[0]) in (int, float)
    return isinstance(vector, str) and bool(vector)


def _is_result(item: Mapping[str, Any]) -> bool:
    return "flagged" in item or any(isinstance(item.get(name), dict) for name in ("categories", "category_scores"))


def _is_image(item: Mapping[str, Any]) -> bool:
    return any(isinstance(item.get(name), str) and item[name] for name in ("b64_json", "url"))


# By endpoint: the member with the answer, the check of each of its items, and the name of the whole in errors.
_SHAPES: dict[str, tuple[str, Callable[[Mapping[str, Any]], bool] | None, str]] = {
    "completions": ("choices", _is_choice, "a text completion"),
    "embeddings": ("data", _is_vector, "a list of embeddings"),
    "moderations": ("results", _is_result, "a list of moderation results"),
    "images": ("data", _is_image, "a list of images"),
    "transcriptions": ("text", None, "a transcription"),
    "translations": ("text", None, "a translation"),
}


class PassedJson(JsonDecoder):
    """A JSON answer of an endpoint, held until it is complete and relayed unchanged; it has at least `least` items."""

    def __init__(self, endpoint: str, bounds: UsageBounds = UNBOUNDED, *, least: int = 1) -> None:
        super().__init__(bounds)
        self._least = least
        self._member, self._is_item, self._wanted = _SHAPES.get(endpoint, ("", None, "sound"))

    def _typed(self, body: bytes) -> Vectors | None:
        return vectors_of(body, self._least) if self._is_item is _is_vector else None

    def _fits(self, value: Any) -> bool:
        content = value.get(self._member) if isinstance(value, dict) else None
        if self._is_item is None:
            return isinstance(content, str)
        if not isinstance(content, list) or len(content) < self._least:
            return False
        return all(isinstance(item, dict) and self._is_item(item) for item in content)


class PassedBytes:
    """Audio, relayed as it arrives; it is complete when the connection ends without an error.

    A body that begins like JSON, a web page or an event is held until it proves to be audio, because errors may have
    any content type.
    """

    native_finish: str | None = None
    finish_reason: str | None = None
    passed_error: bool = False

    def __init__(self) -> None:
        self.committed = self.complete = self.closed = False
        self.fault: UpstreamFailure | None = None
        self.usage: Usage | None = None
        self._held = bytearray()

    def feed(self, chunk: bytes) -> bytes:
        """Return the same bytes."""
        if self.committed:
            return chunk
        self._held += chunk
        if not self._held or (len(self._held) <= _SNIFFED and _is_text(self._held)):
            return b""
        self.committed = True
        held, self._held = bytes(self._held), bytearray()
        return held

    def finish(self) -> bytes:
        """Return nothing. Raises `UpstreamFailure` if only text came."""
        if not self.committed:
            raise _no_sound(bytes(self._held))
        self.complete = self.closed = True
        return b""


def _is_text(held: bytearray) -> bool:
    head = bytes(held[:_HEAD]).removeprefix(codecs.BOM_UTF8).lstrip()
    return (not head or head.startswith(_BEGINS_TEXT)) and not held.translate(None, _PLAIN)


def _no_sound(held: bytes) -> UpstreamFailure:
    text = held.removeprefix(codecs.BOM_UTF8).strip()
    value = value_of((data_of(text) or text) if text[:1] in (b"d", b"e") else text)
    value = value[0] if isinstance(value, list) and value else value
    if isinstance(value, dict) and is_error(value, ""):
        return failure_in_200(value, held)
    what = "is text, not sound" if held.strip() else "is empty"
    return UpstreamFailure(FailureKind.MALFORMED, f"the upstream's answer {what}")


class PassedText(HeldAnswer):
    """The text of a transcription, held until it is complete. It may be empty, for silence."""

    def finish(self) -> bytes:
        """Return the text. Raises `UpstreamFailure` if it is an error or a page."""
        body = bytes(self._held)
        head = body[:100].lstrip().lower()
        value = object_of(body) if head.startswith(b"{") else None
        if value is not None and is_error(value, "text"):
            raise failure_in_200(value, body)
        if head.startswith((b"<!doctype", b"<html")):
            raise UpstreamFailure(FailureKind.MALFORMED, "the upstream's answer is a page, not a text")
        self.committed = self.complete = self.closed = True
        return body


class PassedEvents(EventRelay):
    """Events of images and audio, up to the one with the type of a last event."""

    def __init__(self, bounds: UsageBounds = UNBOUNDED) -> None:
        super().__init__(Events(limit=LIMIT), bounds)

    def finish(self) -> bytes:
        """Return the remaining bytes. Raises `UpstreamFailure` without a last event."""
        rest = self._events.rest()
        if self.fault is not None:
            return b""
        if rest.strip() and not self._take(rest):
            rest = b""  # not relayed
        if self.fault is not None:
            raise self.fault  # clients ignore an event without its empty line
        if not self.complete:
            raise self._broken("the upstream's stream ended before its last event")
        return rest

    def _end(self) -> None:
        self.committed = self.complete = self.closed = True

    def _read(self, value: dict[str, Any], data: bytes) -> bool:
        kind = value.get("type")
        self.committed = self.committed or isinstance(kind, str) or bool(value.get("choices"))
        self._count(value.get("usage"))
        if str(kind).endswith(_LAST):
            self.complete = self.closed = True
        return True
