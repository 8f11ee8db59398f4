"""Who is calling, as far as fairness needs it: calls of one caller wait behind each other, callers take turns.

The name of a caller is a digest under a salt of this process: it tells callers apart in `/admin/queues`, and nobody.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping

from starlette.types import Scope

CREDENTIALS = ("authorization", "x-api-key", "api-key")


class Callers:
    """Names callers by their credential or, without one, by their address."""

    def __init__(self) -> None:
        self._salt = os.urandom(16)

    def name(self, headers: Mapping[str, str], scope: Scope) -> str:
        """The same for the same caller as long as this process lives."""
        for header in CREDENTIALS:
            if credential := headers.get(header):
                return f"key-{self._digest(credential)}"
        client = scope.get("client")
        return f"address-{self._digest(client[0])}" if client else "unknown"

    def _digest(self, text: str) -> str:
        return hashlib.blake2b(text.encode(), key=self._salt, digest_size=5).hexdigest()
