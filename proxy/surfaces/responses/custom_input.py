"""Reads the input of a custom tool while it arrives.

Models call a custom tool as a function with one parameter, `{"input": "..."}`; clients get the text of `input`. It is
decoded piece by piece. Arguments that are another object are read at the end, and other text is the input itself.
"""

from __future__ import annotations

import re

from proxy.core.json_text import strict_object_of

_OPENING = '{"input":"'
_BEGIN = re.compile(r'\s{0,64}\{\s{0,64}"input"\s{0,64}:\s{0,64}"')
_LONGEST_OPENING = 256  # characters, with white space
_PLAIN = re.compile(r'[^"\\]+')
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|([^u]))")
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_LOW = re.compile(r"\\u([dD][c-fC-F][0-9a-fA-F]{2})")


class CustomInput:
    """The input of one call. `feed` returns the text that a fragment of the arguments adds, `finish` the rest."""

    __slots__ = ("_ended", "_fragments", "_inside", "_rest")

    def __init__(self) -> None:
        self._fragments: list[str] | None = []  # of arguments whose form is not known yet; `None`: they are read
        self._inside = False  # in the string
        self._ended = False  # behind the string
        self._rest = ""  # what cannot be decoded yet

    def feed(self, fragment: str) -> str:
        """Return the text that `fragment` adds."""
        if self._ended:
            return ""
        if self._inside:
            return self._decode(self._rest + fragment)
        if self._fragments is None:  # another form, read at the end
            self._rest += fragment
            return ""
        self._fragments.append(fragment)
        whole = "".join(self._fragments)
        if match := _BEGIN.match(whole):
            self._inside, self._fragments = True, None
            return self._decode(whole[match.end() :])
        if len(whole) > _LONGEST_OPENING or not _OPENING.startswith("".join(whole.split())):
            self._rest, self._fragments = whole, None
        return ""

    def finish(self) -> str:
        """Return the text that is still due: all of it, if the arguments have another form."""
        if self._inside or self._ended:
            return ""
        whole = self._rest if self._fragments is None else "".join(self._fragments)
        value = strict_object_of(whole)
        text = None if value is None else value.get("input")
        return text if isinstance(text, str) else whole

    def _decode(self, text: str) -> str:
        """Decode the inside of the string as far as it is complete."""
        out, at = [], 0
        while at < len(text):
            if match := _PLAIN.match(text, at):
                out.append(match.group())
                at = match.end()
                continue
            if text[at] == '"':
                self._inside, self._ended = False, True
                return "".join(out)
            character, end = _escaped(text, at)
            if end == at:
                break  # the escape is not complete
            out.append(character)
            at = end
        self._rest = text[at:]
        return "".join(out)


def _escaped(text: str, at: int) -> tuple[str, int]:
    """Return the character of an escape and its end; the end is `at` if more text is needed."""
    match = _ESCAPE.match(text, at)
    if match is None:
        return ("", at) if len(text) - at < 6 else ("\\u", at + 2)  # not hexadecimal digits: kept as it is
    digits, letter = match.groups()
    if digits is None:
        return _ESCAPED.get(letter, letter), match.end()
    code = int(digits, 16)
    if 0xD800 <= code < 0xDC00:
        low = _LOW.match(text, match.end())
        if low is not None:
            return chr(0x10000 + ((code - 0xD800) << 10) + int(low.group(1), 16) - 0xDC00), low.end()
        if "\\u".startswith(text[match.end() : match.end() + 2]) and len(text) - match.end() < 6:
            return "", at  # its other half may follow
    return chr(code), match.end()
