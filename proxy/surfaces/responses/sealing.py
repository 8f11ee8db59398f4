"""Seals what an answer's client must send back, for `encrypted_content`; see `proxy/surfaces/carriers.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.core.call import Call
from proxy.core.record import Record
from proxy.surfaces.carriers import Piece, PieceReader, seal, text_piece
from proxy.surfaces.responses.messages import SUMMARY


class Sealing:
    """The carriers of one answer. They are not only for clients that ask for `reasoning.encrypted_content`.

    A stored dialog needs them too, and targets may reject the results of tools without them.
    """

    def __init__(self, call: Call, record: Record) -> None:
        self._call = call
        self._record = record
        self._pieces = PieceReader()

    def of_delta(self, delta: Mapping[str, Any]) -> list[str]:
        """Return the signatures that are complete with a delta, each sealed."""
        return [self._sealed(piece) for piece in self._pieces.feed(delta)]

    def of_end(self, text: str, name: str) -> str | None:
        """Return what a reasoning that has ended carries without a signature: `text` is its own, `name` its member.

        Some targets need the text again.
        """
        ended = self._pieces.end()
        if ended:
            return self._sealed(ended[0])
        chosen = self._record.chosen
        if chosen is None:
            return None
        piece = text_piece(chosen.provider.dialect, text, name)
        return None if piece is None else self._sealed(piece)

    def of_summary(self, text: str) -> str:
        """Return the summary of a conversation, sealed."""
        return self._sealed(("openai", {SUMMARY: text}))

    def _sealed(self, piece: Piece) -> str:
        chosen = self._record.chosen
        return seal(self._call, *piece, chosen.provider.name if chosen else "")
