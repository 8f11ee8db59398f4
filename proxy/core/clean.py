"""Removes the proxy's secrets and control characters from text of an upstream that is not an answer, and bounds it.

Errors (message, fields, a body or an event that passes as it is) and headers are cleaned before they reach a client, a
log, a metric or a record. Content of successful answers is not: it is relayed to the byte.

Secrets are detected in any case, in JSON, percent or HTML escapes (also nested ones), as base64 and as hexadecimal
digits; any half of a key is detected too. The search is linear in the text, and text without a secret keeps its bytes.
"""

from __future__ import annotations

import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping

from proxy.core.failures import UpstreamFailure

MASK = "***"
SHORTEST = 8  # characters of a secret; shorter ones may be ordinary words of an error
LONGEST_MESSAGE = 4000  # characters
LONGEST_BODY = 64 * 1024  # bytes of an error that is relayed unchanged
LONGEST_FIELD = 256
LONGEST_HEADER = 512
MOST_HEADERS = 32
_SHORTEST_TAIL = 6  # characters of a secret at the end of a truncated text
_NESTED = 3  # levels of escapes
_SIGN = 4  # characters; every masked part of a secret begins with this many characters of a known text
_ESCAPES = ("\\", "%", "&")
_ESCAPE = re.compile(
    rb"\\{1,8}(?:u\{?0{0,6}([2-7][0-9a-f])\}?|x([2-7][0-9a-f])|[bfnrt])?"
    rb"|%([2-7][0-9a-f])"
    rb"|&#(?:x0{0,4}([2-7][0-9a-f])|0{0,4}([3-9][0-9]|1[0-2][0-9]));?"
    rb"|&(amp|lt|gt|quot|apos);"
)
_ENTITIES = {b"amp": b"&", b"lt": b"<", b"gt": b">", b"quot": b'"', b"apos": b"'"}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_UNSEEN = re.compile(
    "[\x00\xad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]"
)  # with no place of their own
_MOST_SEEN = 256  # cached texts: most headers are the same in every answer
_NAME = re.compile(r"[a-z0-9_-]{1,64}")

Span = tuple[int, int]


class Cleaner:
    """Masks the secrets that one upstream could repeat: `keys`, of which parts are masked too, and `others`."""

    def __init__(self, keys: Iterable[str] = (), others: Iterable[str] = ()) -> None:
        keys, others = _long_enough(keys), _long_enough(others)
        self._needles = list(dict.fromkeys(form for secret in (*keys, *others) for form in _forms(secret) if form))
        self._keys = [key.lower().encode() for key in keys if key.isascii()]
        self._blocks = [(key, _least(key), *block) for key in self._keys for block in _blocks(key)]
        self._suspect = _sign_of([*self._needles, *(block for _, _, block, _ in self._blocks)])
        self._seen: dict[str, str] = {}  # short texts and their clean forms
        self._names: dict[str, bool] = {}  # names of headers, and whether they can be relayed

    def data(self, data: bytes) -> bytes:
        """Return the bytes without secrets; the same object if there is none."""
        spans = self._spans(data)
        if not spans:
            return data
        pieces, at = [], 0
        for start, end in spans:
            pieces += [data[at:start], MASK.encode()]
            at = end
        return b"".join([*pieces, data[at:]])

    def text(self, text: str, longest: int = LONGEST_MESSAGE) -> str:
        """Return a message without secrets and control characters (except tabs and line ends), of at most `longest`."""
        found = _CONTROL.sub(" ", self._masked(_UNSEEN.sub("", text[: 4 * longest])))
        return found if len(found) <= longest else found[: longest - 1] + "\N{HORIZONTAL ELLIPSIS}"

    def field(self, text: str | None) -> str | None:
        """Return a short field of an error, such as `code`, as one line of visible characters."""
        if text is None:
            return None
        plain = len(text) <= LONGEST_FIELD and text.isascii() and text.isprintable()
        return " ".join((self._remembered(text) if plain else self.text(text, LONGEST_FIELD)).split())

    def failure(self, failure: UpstreamFailure) -> UpstreamFailure:
        """Return the failure with all texts of the upstream cleaned."""
        failure.args = (self.text(str(failure)),)
        failure.param, failure.code = self.field(failure.param), self.field(failure.code)
        if failure.native is not None:
            plain = len(failure.native) <= LONGEST_BODY and b"\0" not in failure.native  # UTF-16 has such bytes
            failure.native = self.data(failure.native) if plain else None
        if failure.headers:
            clean = ((name, self.header(value)) for name, value in failure.headers.items())
            failure.headers = {name: value for name, value in clean if value is not None}
        return failure

    def header(self, value: str | None) -> str | None:
        """Return a header's value; None if it is empty, too long, or not plain ASCII on one line."""
        if value is None:
            return None
        return self._seen.get(value) or (self._remembered(value) if _is_plain(value) else None)

    def headers(self, headers: Mapping[str, str], prefixes: tuple[str, ...]) -> dict[str, str]:
        """Return those of `headers` (lower-case names) that begin with one of `prefixes` and can be relayed."""
        passed: dict[str, str] = {}
        left = MOST_HEADERS
        for name in headers:
            if left and name.startswith(prefixes):
                left -= 1
                value = self.header(headers[name])
                if value is not None and self._may_name(name):
                    passed[name] = value
        return passed

    def _may_name(self, name: str) -> bool:
        """Whether a header may have this name."""
        clean = self._names.get(name)
        if clean is None:
            clean = _NAME.fullmatch(name) is not None and self.header(name) == name
            if len(self._names) >= _MOST_SEEN:
                self._names.clear()
            self._names[name] = clean
        return clean

    def _remembered(self, text: str) -> str:
        """Mask a short text of printable ASCII, once for many answers."""
        clean = self._seen.get(text)
        if clean is None:
            clean = self._masked(text)
            if len(self._seen) >= _MOST_SEEN:
                self._seen.clear()
            self._seen[text] = clean
        return clean

    def _masked(self, text: str) -> str:
        if text.isascii() and self._suspect.search(text.lower()) is None:
            return text
        raw = text.encode("utf-8", "surrogatepass")
        found = self._without_tail(self.data(raw))
        return text if found is raw else found.decode("utf-8", "surrogatepass")

    def _without_tail(self, data: bytes) -> bytes:
        """Mask the first part of a key at the end of a truncated text."""
        end = data[-512:].lower()
        for key in self._keys:
            at = end.rfind(key[:_SHORTEST_TAIL])
            if at >= 0 and key.startswith(end[at:]):
                return data[: len(data) - len(end) + at] + MASK.encode()
        return data

    def _spans(self, data: bytes) -> list[Span]:
        """Return the spans of the secrets, in order, without overlaps."""
        low = data.lower()
        spans = list(self._found(low))
        plain, starts, ends = _unescaped(low)
        if starts:
            spans += [(starts[start], ends[end - 1]) for start, end in self._found(plain)]
        return _joined(_whole_escape(low, span) for span in spans) if spans else spans

    def _found(self, low: bytes) -> Iterator[Span]:
        for needle in self._needles:
            at = low.find(needle)
            while at >= 0:
                yield at, at + len(needle)
                at = low.find(needle, at + len(needle))
        for key, least, block, offset in self._blocks:
            at = low.find(block)
            while at >= 0:
                start, end = _grown(low, key, at, offset, len(block))
                if end - start >= least:
                    yield start, end
                at = low.find(block, max(at + 1, end))


def _sign_of(texts: Iterable[bytes]) -> re.Pattern[str]:
    """Return a pattern that matches every lower-case text that may contain one of `texts` or an escape."""
    signs = {re.escape(text[:_SIGN].decode("latin-1")) for text in texts}
    return re.compile("|".join([*map(re.escape, _ESCAPES), *sorted(signs)]))


def _is_plain(value: str) -> bool:
    return 0 < len(value) <= LONGEST_HEADER and value.isascii() and value.isprintable()


def _long_enough(secrets: Iterable[str]) -> list[str]:
    return [secret for secret in dict.fromkeys(each.strip() for each in secrets) if len(secret) >= SHORTEST]


def _forms(secret: str) -> Iterator[bytes]:
    """Yield the searched forms in lower case: the secret, without escapes, as base64 and in hexadecimal."""
    raw = secret.encode()
    yield raw.lower()
    yield _unescaped(raw.lower())[0]
    yield raw.hex().encode()
    for shift in range(3):  # by its offset in the encoded data
        padded, first, last = b"\0" * shift + raw, (shift * 8 + 5) // 6, (shift + len(raw)) * 8 // 6
        yield b64encode(padded)[first:last].lower()
        yield urlsafe_b64encode(padded)[first:last].lower()


def _least(key: bytes) -> int:
    """Return the length of the shortest part of a key that is masked."""
    return max(SHORTEST, (len(key) + 1) // 2)


def _blocks(key: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield blocks of a key with their offsets; each part of `_least` characters contains a whole block."""
    size = (_least(key) + 1) // 2
    for offset in range(0, len(key) - size + 1, size):
        yield key[offset : offset + size], offset


def _grown(low: bytes, key: bytes, at: int, offset: int, size: int) -> Span:
    """Return the longest span around a block in which `low` and `key` are equal."""
    start, end = at, at + size
    while start and offset and low[start - 1] == key[offset - 1]:
        start, offset = start - 1, offset - 1
    offset += end - start
    while end < len(low) and offset < len(key) and low[end] == key[offset]:
        end, offset = end + 1, offset + 1
    return start, end


def _unescaped(data: bytes) -> tuple[bytes, list[int], list[int]]:
    """Return the text without escapes, and the start and end in `data` of its bytes; empty lists without escapes."""
    starts: list[int] = []
    ends: list[int] = []
    for _ in range(_NESTED):
        plain, first, last = _unescaped_once(data)
        if not first:
            break
        starts, ends = ([starts[at] for at in first], [ends[at - 1] for at in last]) if starts else (first, last)
        data = plain
    return data, starts, ends


def _unescaped_once(data: bytes) -> tuple[bytes, list[int], list[int]]:
    if b"\\" not in data and b"%" not in data and b"&" not in data:
        return data, [], []
    pieces: list[bytes] = []
    starts: list[int] = []
    ends: list[int] = []
    at = 0
    for match in _ESCAPE.finditer(data):
        pieces.append(data[at : match.start()])
        starts += range(at, match.start())
        ends += range(at + 1, match.start() + 1)
        at = match.end()
        if match.lastindex is not None:
            pieces.append(_character(match[match.lastindex], match.lastindex))
        elif match[0][-1:] == b"\\":
            continue  # before a character without a special meaning
        else:
            pieces.append(b" ")
        starts.append(match.start())
        ends.append(at)
    if not at:
        return data, [], []
    starts += range(at, len(data))
    ends += range(at + 1, len(data) + 1)
    return b"".join([*pieces, data[at:]]), starts, ends


def _character(found: bytes, group: int) -> bytes:
    """Return the character of an escape in lower case; `group` is that of the pattern."""
    return _ENTITIES[found] if group == 6 else bytes([int(found, 10 if group == 5 else 16)]).lower()


def _whole_escape(low: bytes, span: Span) -> Span:
    """Return the span including a backslash before its first byte."""
    start, end = span
    before = start
    while before and low[before - 1] == 0x5C:
        before -= 1
    return start - (start - before) % 2, end


def _joined(spans: Iterable[Span]) -> list[Span]:
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((start, end))
    return joined
