"""Reads the answer of a call on its way to the client, which gets the same bytes.

Only the first `MOST` characters are kept, and only until the answer is complete.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from proxy.core.errors import ProxyError
from proxy.core.json_text import typed
from proxy.core.sse import DONE, data_of, split
from proxy.learning.rating import Answer, ToolCall, text_of
from proxy.surfaces.base import Encoder, Surface

MOST = 100_000  # characters of an answer
_MOST_CALLS = 128


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None
    input: str | None = None  # of a custom tool, whose arguments are free text


class _ToolCall(msgspec.Struct, gc=False):
    index: int = 0
    function: _Function | None = None
    custom: _Function | None = None


class _Message(msgspec.Struct):
    content: Any = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None
    audio: Any = None
    images: Any = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Message | None = None
    message: _Message | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] = []


_decode = msgspec.json.Decoder(_Completion).decode


class _Collected:
    """What has been read of an answer."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._calls: dict[int, list[str]] = {}  # name, and the pieces of the arguments
        self._custom: set[int] = set()
        self._left = MOST
        self._refused = self._media = False
        self._readable = True

    def read(self, text: bytes) -> None:
        """Read a chunk or a whole completion."""
        if self._left <= 0 or not self._readable:
            return
        completion = typed(_decode, text)
        if completion is None:
            self._readable = False  # it has another shape, and nothing is known of the answer
            return
        for choice in completion.choices:
            message = choice.delta or choice.message
            if message is not None and choice.index == 0:
                self._add(message, whole=choice.message is not None)

    def answer(self) -> Answer | None:
        """Return the answer; `None` if it cannot be read."""
        if not self._readable:
            return None
        calls = [
            ToolCall(name, "".join(pieces), is_function=index not in self._custom)
            for index, (name, *pieces) in sorted(self._calls.items())
        ]
        return Answer("".join(self._texts), tuple(calls), self._refused, self._media, whole=self._left > 0)

    def _add(self, message: _Message, *, whole: bool) -> None:
        if message.content:
            self._keep(self._texts, text_of(message.content))
        self._refused |= bool(message.refusal)
        self._media |= bool(message.audio or message.images)
        for place, call in enumerate(message.tool_calls or ()):
            about = call.function or call.custom
            index = place if whole else call.index
            if about is not None and (index in self._calls or len(self._calls) < _MOST_CALLS):
                self._add_call(index, about, custom=call.custom is not None)
        if message.function_call is not None:
            self._add_call(0, message.function_call, custom=False)

    def _add_call(self, index: int, about: _Function, *, custom: bool) -> None:
        pieces = self._calls.setdefault(index, [""])
        name = (about.name or "")[: max(0, self._left)]
        pieces[0] += name
        self._left -= len(name)
        if custom:
            self._custom.add(index)
        self._keep(pieces, about.arguments or about.input or "")

    def _keep(self, pieces: list[str], text: str) -> None:
        if text:
            pieces.append(text[: self._left])
            self._left -= len(text)


class Reading:
    """An encoder around that of the call, if it has one. It reads canonical bytes, and calls `done` in the end."""

    def __init__(
        self, inner: Encoder | None, surface: Surface, *, stream: bool, done: Callable[[Answer | None], None]
    ) -> None:
        self._inner = inner
        self._surface = surface
        self._stream = stream
        self._done = done
        self._collected = _Collected()

    def feed(self, data: bytes) -> bytes:
        """Return the client's bytes for `data`."""
        if self._stream:
            for event in split(data):
                text = data_of(event)
                if text and text != DONE:
                    self._collected.read(text)
        else:
            self._collected.read(data)
        return data if self._inner is None else self._inner.feed(data)

    def finish(self) -> bytes:
        """Return the client's last bytes."""
        last = b"" if self._inner is None else self._inner.finish()
        self._done(self._collected.answer())
        return last

    def fail(self, error: ProxyError) -> bytes:
        """Return the client's last bytes after a failure."""
        return self._surface.event(error) if self._inner is None else self._inner.fail(error)


def answer_of(body: bytes) -> Answer | None:
    """Return the answer of a whole chat completion; `None` if it has another shape."""
    collected = _Collected()
    collected.read(body)
    return collected.answer()
