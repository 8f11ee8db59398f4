"""Seals the signatures of an answer for `encrypted_content`; see `proxy/surfaces/carriers.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.core.call import Call
from proxy.core.record import Record
from proxy.surfaces.carriers import pieces, seal, text_piece


class Sealing:
    """The carriers of one answer. `texts`: the client asked for `reasoning.encrypted_content`."""

    def __init__(self, call: Call, record: Record, *, texts: bool) -> None:
        self._call = call
        self._record = record
        self._texts = texts

    def of_delta(self, delta: Mapping[str, Any]) -> Iterator[str]:
        """Yield the signatures of a delta, each sealed."""
        for family, members in pieces(delta):
            yield seal(self._call, family, members, self._provider)

    def of_text(self, text: str, name: str) -> str | None:
        """Return the whole text of a reasoning, sealed, if the target needs it again; `name` is its member."""
        chosen = self._record.chosen
        if not self._texts or chosen is None:
            return None
        piece = text_piece(chosen.provider.dialect, text, name)
        return None if piece is None else seal(self._call, *piece, self._provider)

    @property
    def _provider(self) -> str:
        return self._record.chosen.provider.name if self._record.chosen else ""
