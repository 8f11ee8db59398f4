"""Reads the answer of a call on its way to the client, which gets the same bytes.

Only the first characters are kept, and only until the answer is complete.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from proxy.core.errors import ProxyError
from proxy.core.json_text import typed
from proxy.core.sse import DONE, data_of, split
from proxy.learning.collected import Collected
from proxy.learning.rating import Answer, text_of
from proxy.surfaces.base import Encoder, Surface


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


class Chat(Collected):
    """Reads chat completions."""

    def _read(self, text: bytes) -> bool:
        completion = typed(_decode, text)
        if completion is None:
            return False
        for choice in completion.choices:
            message = choice.delta or choice.message
            if message is not None and choice.index == 0:
                self._add(message, whole=choice.message is not None)
        return True

    def _add(self, message: _Message, *, whole: bool) -> None:
        if message.content:
            self.add_text(text_of(message.content))
        self.refused |= bool(message.refusal)
        self.media |= bool(message.audio or message.images)
        for place, call in enumerate(message.tool_calls or ()):
            about = call.function or call.custom
            if about is not None:
                self._add_call(place if whole else call.index, about, custom=call.custom is not None)
        if message.function_call is not None:
            self._add_call(0, message.function_call, custom=False)

    def _add_call(self, index: int, about: _Function, *, custom: bool) -> None:
        self.add_call(index, about.name or "", about.arguments or about.input or "", custom=custom)


class Reading:
    """An encoder around that of the call, if it has one. It reads what it gets, and calls `done` in the end."""

    def __init__(
        self,
        inner: Encoder | None,
        surface: Surface,
        *,
        stream: bool,
        done: Callable[[Answer | None], None],
        collected: Collected | None = None,
    ) -> None:
        """`stream`: it consists of events. `collected` reads them; without it they are chat completions."""
        self._inner = inner
        self._surface = surface
        self._stream = stream
        self._done = done
        self._collected = Chat() if collected is None else collected

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
    collected = Chat()
    collected.read(body)
    return collected.answer()
