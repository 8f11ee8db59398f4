"""Identifies the caller of a request: turns its credential into a `Principal`.

With `auth.mode: none` no credential is checked, and every caller is anonymous. Its name is a digest of its credential,
or of its address without one, under a salt of this process: it distinguishes callers and reveals nothing about them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Protocol

from starlette.types import Scope

from proxy.admission.credentials import joined
from proxy.core.principal import Principal

CREDENTIALS = ("authorization", "x-api-key", "x-goog-api-key", "api-key")


class Identify(Protocol):
    """Identifies callers; one instance serves all requests."""

    def __call__(self, headers: Mapping[str, str], address: str | None) -> Principal | None:
        """Return the caller, or `None` if that takes a look-up: then await `look_up`. Raises `ProxyError`.

        `headers` have lower-case names, repeated ones joined; `address` is the client's IP address if it is known.
        """
        ...

    async def look_up(self, headers: Mapping[str, str], address: str | None) -> Principal:
        """Return the caller, from the store if necessary. Raises `ProxyError`."""
        ...


async def identified(identify: Identify, scope: Scope) -> Principal:
    """Return the caller of an HTTP request. Raises `ProxyError`."""
    client: tuple[str, int] | None = scope.get("client")
    headers, address = joined(scope["headers"]), client[0] if client else None
    return identify(headers, address) or await identify.look_up(headers, address)


class Anonymous(Principal):
    """A caller whose credential is not checked. Its name is computed when it is first needed."""

    __slots__ = ("_address", "_headers", "_salt")

    def __init__(self, headers: Mapping[str, str], address: str | None, salt: bytes) -> None:
        self._name = ""
        self._headers = headers
        self._address = address
        self._salt = salt

    @property
    def name(self) -> str:
        """`key-` or `address-` and a digest, or `unknown`."""
        if not self._name:
            self._name = self._computed()
        return self._name

    def _computed(self) -> str:
        for header in CREDENTIALS:
            if credential := self._headers.get(header):
                return f"key-{self._digest(credential)}"
        return f"address-{self._digest(self._address)}" if self._address else "unknown"

    def _digest(self, text: str) -> str:
        return hashlib.blake2b(text.encode(), key=self._salt, digest_size=5).hexdigest()


class IdentifyNone:
    """Identifies every caller as anonymous (`auth.mode: none`)."""

    def __init__(self) -> None:
        self._salt = os.urandom(16)

    def __call__(self, headers: Mapping[str, str], address: str | None) -> Principal:
        """Return an anonymous caller."""
        return Anonymous(headers, address, self._salt)

    async def look_up(self, headers: Mapping[str, str], address: str | None) -> Principal:
        """Return an anonymous caller; nothing awaits this, because there is always one at once."""
        return self(headers, address)
