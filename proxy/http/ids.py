"""Ids of requests: unique across processes, and cheap to create."""

from __future__ import annotations

import secrets
from itertools import count


class Ids:
    """`req_` with a random prefix of this process and a counter."""

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(8)
        self._count = count(1)

    def new(self) -> str:
        """Return the next id."""
        return f"req_{self._prefix}{next(self._count):08x}"
