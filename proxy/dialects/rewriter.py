"""Replaces the names of members in JSON text that comes in pieces, cut anywhere.

Only an incomplete name is held back; everything else passes unchanged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

_STRUCTURE = re.compile(r'["{}\[\]:,]')
_IN_STRING = re.compile(r'["\\]')


class MemberRewriter:
    """Replaces the names in one JSON text."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._stack: list[str] = []  # the brackets that are open
        self._awaits_name = False
        self._in_string = False
        self._escaped = False
        self._name: list[str] | None = None  # the pieces of a name that has begun

    def feed(self, text: str) -> str:
        """Return the text that is certain after `text`."""
        out: list[str] = []
        at = 0
        while at < len(text):
            at = self._string(text, at, out) if self._in_string else self._outside(text, at, out)
        return "".join(out)

    def rest(self) -> str:
        """Return the text that is held back, at the end."""
        held, self._name = "".join(self._name or ()), None
        return held

    def _outside(self, text: str, at: int, out: list[str]) -> int:
        match = _STRUCTURE.search(text, at)
        if match is None:
            out.append(text[at:])
            return len(text)
        mark, end = match[0], match.end()
        if mark == '"':
            self._in_string = True
            if self._awaits_name:
                out.append(text[at : end - 1])
                self._name = ['"']
                return end
        elif mark in "{[":
            self._stack.append(mark)
            self._awaits_name = mark == "{"
        elif mark in "}]":
            del self._stack[-1:]
            self._awaits_name = False
        else:
            self._awaits_name = mark == "," and self._stack[-1:] == ["{"]
        out.append(text[at:end])
        return end

    def _string(self, text: str, at: int, out: list[str]) -> int:
        if self._escaped:
            self._escaped = False
            self._pass(text[at], out)
            return at + 1
        match = _IN_STRING.search(text, at)
        if match is None:
            self._pass(text[at:], out)
            return len(text)
        self._pass(text[at : match.end()], out)
        if match[0] == "\\":
            self._escaped = True
            return match.end()
        self._in_string = False
        if self._name is not None:
            out.append(self._replaced("".join(self._name)))
            self._name = None
        return match.end()

    def _pass(self, text: str, out: list[str]) -> None:
        (out if self._name is None else self._name).append(text)

    def _replaced(self, quoted: str) -> str:
        try:
            name = json.loads(quoted)
        except ValueError:
            return quoted
        return json.dumps(self._names[name], ensure_ascii=False) if name in self._names else quoted
