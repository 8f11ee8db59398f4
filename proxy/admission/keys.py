"""Virtual keys: `sb-`, 43 random characters (256 bits) and a checksum of 6, all in base62; and their digests.

The prefix lets secret scanners find leaked keys. The checksum is CRC-32 of the random characters, as in GitHub's
tokens: a malformed key is rejected without a look-up. A slow hash is not needed at this entropy: a key is stored as
HMAC-SHA-256 under a pepper, which is not in the database.
"""

from __future__ import annotations

import hmac
import re
import secrets
import string
from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple
from zlib import crc32

PREFIX = "sb-"
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM = 43
_CHECKSUM = 6
_FORM = re.compile(rf"{PREFIX}([0-9A-Za-z]{{{_RANDOM}}})([0-9A-Za-z]{{{_CHECKSUM}}})", re.ASCII)
LENGTH = len(PREFIX) + _RANDOM + _CHECKSUM
_BLOCK = 64  # bytes of a block of SHA-256
_SHOWN = 8  # characters of `IssuedKey.prefix`


class IssuedKey(NamedTuple):
    """A new key, which is shown once, and what is stored of it (`proxy/core/accounts.py:VirtualKey`)."""

    key: str
    digest: bytes
    pepper_id: str
    prefix: str
    last4: str


class Peppers:
    """The secrets under which keys are stored, the newest first. Older ones verify the keys that they were used for."""

    def __init__(self, peppers: Iterable[str]) -> None:
        self._peppers = [pepper.encode() for pepper in peppers]
        # HMAC prepared (RFC 2104), as every call needs a digest: in a third of the time of a copy of `hmac.new`
        secret = self._peppers[0] if len(self._peppers[0]) <= _BLOCK else sha256(self._peppers[0]).digest()
        secret = secret.ljust(_BLOCK, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in secret))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in secret))

    @property
    def ids(self) -> list[str]:
        """Identify the peppers, the newest first, without revealing them."""
        return [hmac.digest(pepper, b"signalbox pepper id", "sha256")[:4].hex() for pepper in self._peppers]

    def digest(self, key: str) -> bytes:
        """Return the digest of a key under the newest pepper."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(key.encode())
        outer.update(inner.digest())
        return outer.digest()

    def digests(self, key: str) -> list[bytes]:
        """Return the digests of a key under all peppers, the newest first."""
        return [hmac.digest(pepper, key.encode(), "sha256") for pepper in self._peppers]

    def issue(self) -> IssuedKey:
        """Return a new key."""
        key = new_key()
        return IssuedKey(key, self.digest(key), self.ids[0], key[:_SHOWN], key[-4:])


def new_key() -> str:
    """Return a new key from the system's source of randomness."""
    text = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
    return f"{PREFIX}{text}{_checksum(text)}"


def is_well_formed(key: str) -> bool:
    """Return whether the form and the checksum of a key are right."""
    match = _FORM.fullmatch(key)
    return match is not None and match[2] == _checksum(match[1])


def _checksum(text: str) -> str:
    number, digits = crc32(text.encode()), ""
    for _ in range(_CHECKSUM):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
