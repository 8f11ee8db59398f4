"""What the translation of one request notes beside its result: what is dropped, and what only Anthropic can serve."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from proxy.core.dialects import DialectName
from proxy.core.errors import InvalidRequest

_MOST_NAMES = 40  # clients may send any number of unknown members
_LONGEST_NAME = 60  # characters
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]")


class Notes:
    """The notes of one request."""

    def __init__(self) -> None:
        self.refused: InvalidRequest | None = None  # why only an Anthropic target can serve the call
        self.forced: InvalidRequest | None = None  # a web search must be made (`Call.forced`)
        self.family: DialectName | None = None  # whose signatures the open tool loop carries
        self.hosted: list[Mapping[str, Any]] = []  # web searches (`Call.hosted`)
        self._dropped: dict[str, None] = {}

    @property
    def dropped(self) -> tuple[str, ...]:
        """The names of what has no counterpart in a chat, without repeats."""
        return tuple(self._dropped)

    def drop(self, name: str) -> None:
        """Note that `name` is not translated; it may be a client's text."""
        if len(self._dropped) < _MOST_NAMES:
            self._dropped[_NOT_IN_NAMES.sub("", name)[:_LONGEST_NAME]] = None

    def force(self, message: str, param: str) -> None:
        """Note that a target without a web search cannot serve the call."""
        self.forced = InvalidRequest(message, param=param)

    def refuse(self, message: str, param: str) -> None:
        """Note that a target of another dialect cannot serve the call; the first reason is kept."""
        if self.refused is None:
            self.refused = InvalidRequest(message, param=param)


def invalid(where: str, expected: str) -> InvalidRequest:
    """Return the error for a member that is not what is expected."""
    return InvalidRequest(f"`{where}` must be {expected}.", param=where)
