"""Carriers: sealed values that providers require again with the next turn, and that clients keep for them.

Providers sign their models' thinking and require the signatures with the results of tools. Clients of the Responses,
Messages and generateContent APIs return exactly one kind of value unchanged: `encrypted_content`, `signature` and
`thoughtSignature`. So an answer's signatures travel there, sealed:

    answer    pieces(delta) -> seal(call, *piece)            a canonical delta or message, as text for the client
    request   unseal(snapshot, principal, text) -> restore   the members of the canonical assistant message again

In canonical messages they are the members that the dialects write and read: `reasoning_details` (Anthropic's blocks,
and OpenRouter's), `extra_content` and `google_parts` (Gemini), and `reasoning_content` (text that models such as
DeepSeek's require). A carrier is bound to the tenant by authenticated encryption; clients can neither read nor change
it. Encryption is deterministic (AES-SIV, RFC 5297): equal values are equal texts, so prompt caches stay valid, and no
random numbers are needed.

    sbx1.<base64url of: AES-SIV(1 byte: 1 if compressed, JSON [family, provider, members])>

A text is ASCII without `=`. Where a format requires base64 (`thoughtSignature`), encode the text once more.
"""

from __future__ import annotations

import zlib
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from proxy.core.body import parse
from proxy.core.call import Call, NativeRequest
from proxy.core.dialects import DialectName
from proxy.core.json_text import compact_nulled, value_of
from proxy.core.principal import Principal
from proxy.core.snapshot import Snapshot
from proxy.core.spans import edit

PREFIX = "sbx1."
_CONTEXT = b"signalbox carrier 1"
_MOST_GAIN = 16  # a text that compresses better stays as it is, so that a small request cannot become a large one
_LISTS = ("reasoning_details", "google_parts")
_GROWING = ("text", "summary", "signature", "data")  # members that come in fragments
_TEXTS = ("reasoning_content", "reasoning")

Members = dict[str, Any]
Piece = tuple[DialectName, Members]  # the family, and members of an assistant message


@dataclass(slots=True)
class Carried:
    """What a carrier holds: members of an assistant message, and where they are from.

    `tool_calls` in `members` is an object: the members of each call by its id.
    """

    family: str  # the dialect whose targets can use it
    provider: str  # that answered; empty if unknown
    members: Members

    @property
    def is_signed(self) -> bool:
        """Whether it holds more than the texts of reasoning."""
        return not self.members.keys() <= set(_TEXTS)


def seal(call: Call, family: DialectName, members: Members, provider: str = "") -> str:
    """Return members of an assistant message as text for the client of `call`; see `pieces`."""
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    plain = compact_nulled([family, provider, members])
    packed = zlib.compress(plain, 1)
    small = len(plain) // _MOST_GAIN <= len(packed) < len(plain)
    content = b"\x01" + packed if small else b"\x00" + plain
    key = call.snapshot.auth.carrier_keys[0]
    return PREFIX + urlsafe_b64encode(AESSIV(key).encrypt(content, _bound(call.principal))).decode().rstrip("=")


def unseal(snapshot: Snapshot, principal: Principal, text: str) -> Carried | None:
    """Return what `seal` put into `text`; `None` if it is foreign, changed, another tenant's, or its key has ended."""
    content = _decrypted(snapshot, principal, text)
    if content is None:
        return None
    value = value_of(zlib.decompress(content[1:]) if content[:1] == b"\x01" else content[1:])
    match value:
        case [str(family), str(provider), dict(members)]:
            return Carried(family, provider, members)
    return None


def is_carrier(text: object) -> bool:
    """Whether `text` has the form of a carrier; others are a provider's own."""
    return isinstance(text, str) and text.startswith(PREFIX)


def pieces(message: Mapping[str, Any]) -> Iterator[Piece]:
    """Yield what is worth sealing in a canonical delta or message: the family and the members, one piece each.

    Each is complete in a delta, but for OpenRouter's streams (`PieceReader`).
    """
    for entry in _objects(message.get("reasoning_details")):
        if entry.get("signature") or entry.get("data"):
            yield _family_of_detail(entry), {"reasoning_details": [entry]}
    for part in _objects(message.get("google_parts")):
        yield "gemini", {"google_parts": [part]}
    for call in _objects(message.get("tool_calls")):
        extra, id = call.get("extra_content"), call.get("id")
        if isinstance(extra, dict) and isinstance(id, str) and id:
            yield "gemini", {"tool_calls": {id: {"extra_content": extra}}}
    extra = message.get("extra_content")
    if isinstance(extra, dict):
        yield "gemini", {"extra_content": extra}


class PieceReader:
    """Reads the pieces of an answer, delta by delta or whole.

    The dialects of Anthropic and Gemini write each in one delta. OpenRouter sends entries of `reasoning_details` in
    fragments, and requires all of them again, also those without a signature.
    """

    def __init__(self) -> None:
        self._entry: Members | None = None  # the one whose fragments are being read

    def feed(self, message: Mapping[str, Any]) -> list[Piece]:
        """Return the pieces that are complete with a delta."""
        found: list[Piece] = []
        for entry in _objects(message.get("reasoning_details")):
            if self._entry is None or not _continues(entry, self._entry):
                found += self.end()
                self._entry = dict(entry)
            else:
                _append(self._entry, entry)
            if self._entry.get("signature") or self._entry.get("data"):
                found += self.end()
        return found + [piece for piece in pieces(message) if "reasoning_details" not in piece[1]]

    def end(self) -> list[Piece]:
        """Return what is complete because the answer ends."""
        entry, self._entry = self._entry, None
        return [] if entry is None else [(_family_of_detail(entry), {"reasoning_details": [entry]})]


def text_piece(dialect: str, text: str, name: str = "reasoning_content") -> Piece | None:
    """Return reasoning without a signature as a piece, for models that require the text again.

    `dialect` is that of the target that answered: those with signatures read no other reasoning (`None`). `name` is
    the member in which the text came, `reasoning_content` or `reasoning`.
    """
    return ("openai", {name: text}) if text and dialect not in ("anthropic", "gemini") else None


def restore(message: dict[str, Any], carried: Carried) -> None:
    """Put the members back into a canonical assistant message that has its `tool_calls` already.

    Several carriers of one message are restored in their order. Members of calls that are no longer there are omitted.
    """
    members = carried.members
    for name in _LISTS:
        if isinstance(added := members.get(name), list):
            message[name] = [*message.get(name, ()), *added]
    for name in _TEXTS:
        if isinstance(added := members.get(name), str):
            message[name] = message.get(name, "") + added
    if isinstance(extra := members.get("extra_content"), dict):
        message["extra_content"] = {**message.get("extra_content", {}), **extra}
    of_calls = members.get("tool_calls")
    if isinstance(of_calls, dict):
        for call in message.get("tool_calls", ()):
            if isinstance(added := of_calls.get(call.get("id")), dict):
                call.update({name: value for name, value in added.items() if name not in call})


def open_family(messages: Sequence[Mapping[str, Any]]) -> DialectName | None:
    """Return the family whose signatures an open tool loop carries: that of the newest one.

    A loop is open if results of tools follow the last message of the assistant; it begins with a message of the user.
    """
    place = len(messages) - 1
    while place >= 0 and messages[place].get("role") != "assistant":
        place -= 1
    if not any(message.get("role") == "tool" for message in messages[place + 1 :]):
        return None
    for index in range(place, -1, -1):
        message = messages[index]
        if message.get("role") == "user" and messages[index - 1].get("role") != "tool":
            return None
        if message.get("role") == "assistant":
            for family, _ in pieces(message):
                return family
    return None


def edited(
    native: NativeRequest,
    write: Mapping[str, Any],
    remove: Collection[str] = (),
    *,
    dropped: tuple[str, ...] = (),
) -> NativeRequest:
    """Return a client's own body with other values of some members, for a target that cannot read our carriers.

    `dropped` are the names of what it lacks then.
    """
    raw = edit(native.raw, native.spans, {name: compact_nulled(value) for name, value in write.items()}, remove)
    return replace(native, raw=raw, spans=parse(raw).spans, dropped=(*native.dropped, *dropped))


def _bound(principal: Principal) -> list[bytes]:
    """Return the additional authenticated data."""
    return [_CONTEXT, principal.tenant.encode("utf-8", "surrogatepass")]


def _decrypted(snapshot: Snapshot, principal: Principal, text: str) -> bytes | None:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    if not is_carrier(text):
        return None
    body = text[len(PREFIX) :]
    try:
        data = b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
    for key in snapshot.auth.carrier_keys:
        try:
            return AESSIV(key).decrypt(data, _bound(principal))
        except (InvalidTag, ValueError):  # `ValueError`: it is too short
            continue
    return None


def _family_of_detail(entry: Mapping[str, Any]) -> DialectName:
    """Return the dialect that reads an entry: Anthropic's blocks are translated, other entries are a provider's own."""
    return "anthropic" if str(entry.get("format")).startswith("anthropic") else "openai"


def _continues(entry: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    return entry.get("type") == before.get("type") and entry.get("index") == before.get("index")


def _append(entry: Members, fragment: Mapping[str, Any]) -> None:
    """Add a fragment to an entry: texts are appended, other values replaced."""
    for name, value in fragment.items():
        before = entry.get(name)
        grows = name in _GROWING and isinstance(before, str) and isinstance(value, str)
        entry[name] = before + value if grows else value if value is not None else before


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
