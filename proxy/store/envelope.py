"""Envelope encryption of secrets at rest, with AES-256-GCM.

    secret    --encrypted with-->  data key, random, one for each version of a record
    data key  --encrypted with-->  key-encryption key (KEK), derived from `auth.encryption_key`

Both ciphertexts are bound to the table, the id, the version and the owners of their record: one that was moved to
another row, truncated or changed is detected, and so is a row that was given to another owner. Nonces are random (96
bits); a data key encrypts one secret, and a KEK only data keys, far fewer than the 2**32 after which random nonces
become unsafe (NIST SP 800-38D, section 8.3).

Several KEKs can be in use at once. The first one encrypts, all of them decrypt, and each ciphertext names its own by
`kek_id`. A rotation encrypts the data keys again; it decrypts no secret.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # imported on first use
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SHORTEST_KEK = 32  # bytes of `auth.encryption_key`
_NONCE = 12  # bytes
_DATA_KEY = 32  # bytes


class EnvelopeError(Exception):
    """A secret cannot be decrypted. The message contains no part of it."""


class UnknownKek(EnvelopeError):
    """The KEK of a record is not configured."""

    def __init__(self, kek_id: str) -> None:
        super().__init__(f"the encryption key `{kek_id}` is not configured; add it to `auth.previous_encryption_keys`")
        self.kek_id = kek_id


class Damaged(EnvelopeError):
    """The ciphertext was changed, truncated, or belongs to another record."""

    def __init__(self) -> None:
        super().__init__("the ciphertext is damaged or belongs to another record")


class Place(NamedTuple):
    """The record that a ciphertext belongs to."""

    table: str
    id: str
    version: int
    owners: tuple[str, ...] = ()  # to whom and to what the record belongs


class Sealed(NamedTuple):
    """An encrypted secret."""

    kek_id: str  # of the KEK that encrypted `data_key`
    data_key: bytes  # after its nonce
    nonce: bytes  # of `ciphertext`
    ciphertext: bytes


class Envelope:
    """Encrypts with the first of `keys`, and decrypts with all of them."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Raise `ValueError` without a key, and for one that is shorter than `SHORTEST_KEK` bytes."""
        if not keys:
            raise ValueError("needs an encryption key")
        if any(len(key.encode()) < SHORTEST_KEK for key in keys):
            raise ValueError(f"an encryption key must have at least {SHORTEST_KEK} bytes")
        self._keks = {_kek_id(key): _derived(key, "kek") for key in reversed(keys)}  # the first of equal keys counts
        self.kek_id = _kek_id(keys[0])

    def seal(self, place: Place, secret: str) -> Sealed:
        """Encrypt a secret for one version of a record."""
        data_key, nonce = os.urandom(_DATA_KEY), os.urandom(_NONCE)
        ciphertext = _cipher(data_key).encrypt(nonce, secret.encode(), _bound("secret", place))
        return Sealed(self.kek_id, self._wrapped(place, data_key), nonce, ciphertext)

    def open(self, place: Place, sealed: Sealed) -> str:
        """Decrypt a secret. Raises `EnvelopeError`."""
        data_key = self._data_key(place, sealed)
        return _decrypted(data_key, sealed.nonce, sealed.ciphertext, _bound("secret", place)).decode()

    def rewrap(self, place: Place, sealed: Sealed) -> Sealed:
        """Encrypt the data key again, with the first KEK; the secret is not decrypted. Raises `EnvelopeError`."""
        data_key = self._wrapped(place, self._data_key(place, sealed))
        return sealed._replace(kek_id=self.kek_id, data_key=data_key)

    def _wrapped(self, place: Place, data_key: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + _cipher(self._keks[self.kek_id]).encrypt(nonce, data_key, _bound("data key", place))

    def _data_key(self, place: Place, sealed: Sealed) -> bytes:
        kek = self._keks.get(sealed.kek_id)
        if kek is None:
            raise UnknownKek(sealed.kek_id)
        nonce, data_key = sealed.data_key[:_NONCE], sealed.data_key[_NONCE:]
        return _decrypted(kek, nonce, data_key, _bound("data key", place))


def _kek_id(key: str) -> str:
    """Return a name of the key, which reveals nothing about it."""
    return _derived(key, "id").hex()[:16]


def _derived(key: str, purpose: str) -> bytes:
    """Return 32 bytes that depend on the key and on what they are for."""
    return hmac.digest(key.encode(), f"signalbox envelope 1: {purpose}".encode(), "sha256")


def _bound(content: str, place: Place) -> bytes:
    """Return the additional authenticated data."""
    return json.dumps([content, *place]).encode()


def _decrypted(key: bytes, nonce: bytes, data: bytes, bound: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag

    try:
        return _cipher(key).decrypt(nonce, data, bound)
    except (InvalidTag, ValueError):  # `ValueError`: the nonce is too short
        raise Damaged from None


def _cipher(key: bytes) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)
