"""What has been read of an answer: its text and its tool calls, up to a bound."""

from __future__ import annotations

from abc import ABC, abstractmethod

from proxy.learning.rating import Answer, ToolCall

MOST = 100_000  # characters of an answer
_MOST_CALLS = 128


class Collected(ABC):
    """Collects an answer; a subclass reads it in one format."""

    def __init__(self) -> None:
        self.left = MOST
        self.refused = self.media = False
        self.readable = True
        self._texts: list[str] = []
        self._calls: dict[int, list[str]] = {}  # name, and the pieces of the arguments
        self._custom: set[int] = set()

    def read(self, text: bytes) -> None:
        """Read the data of an event, or a whole answer; nothing more once it has another shape, or is too long."""
        if self.left > 0 and self.readable:
            self.readable = self._read(text)

    @abstractmethod
    def _read(self, text: bytes) -> bool:
        """Read the data of an event, or a whole answer; return false if it has another shape."""

    def answer(self) -> Answer | None:
        """Return the answer; `None` if it cannot be read."""
        if not self.readable:
            return None
        calls = [
            ToolCall(name, "".join(pieces), is_function=index not in self._custom)
            for index, (name, *pieces) in sorted(self._calls.items())
        ]
        return Answer("".join(self._texts), tuple(calls), self.refused, self.media, whole=self.left > 0)

    def add_text(self, text: str) -> None:
        """Add a piece of the text."""
        self._keep(self._texts, text)

    def add_call(self, index: int, name: str, arguments: str, *, custom: bool = False) -> None:
        """Add a piece of the name and of the arguments of a tool call."""
        if index not in self._calls and len(self._calls) >= _MOST_CALLS:
            return
        pieces = self._calls.setdefault(index, [""])
        name = name[: max(0, self.left)]
        pieces[0] += name
        self.left -= len(name)
        if custom:
            self._custom.add(index)
        self._keep(pieces, arguments)

    def _keep(self, pieces: list[str], text: str) -> None:
        if text:
            pieces.append(text[: self.left])
            self.left -= len(text)
