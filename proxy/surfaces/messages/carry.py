"""Carriers in thinking blocks: what a provider needs back, sealed in the `signature` of a block of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.core.call import Call
from proxy.core.dialects import DialectName
from proxy.core.principal import Principal
from proxy.core.record import Record
from proxy.core.snapshot import Snapshot
from proxy.surfaces.carriers import Carried, Piece, PieceReader, restore, seal, text_piece, unseal
from proxy.surfaces.messages.facts import tool_id

_FAMILIES: Mapping[str, DialectName] = {"anthropic": "anthropic", "gemini": "gemini", "openai": "openai"}


class Seals:
    """Seals what one answer carries, read delta by delta or whole."""

    def __init__(self, call: Call, record: Record) -> None:
        self._call = call
        self._record = record
        self._reader = PieceReader()
        self._member = "reasoning_content"  # in which unsigned thinking comes

    def read(self, message: Mapping[str, Any]) -> list[str]:
        """Return a carrier for each part of a delta or message that the provider needs back."""
        if "reasoning" in message and "reasoning_content" not in message:
            self._member = "reasoning"
        return [self._seal(piece) for piece in self._reader.feed(message)]

    def thinking(self, text: str) -> str:
        """Return a carrier of thinking that ends without a signature.

        It has the text, for models that need it back; an empty one shows that Anthropic's models have not signed it.
        """
        ended, chosen = self._reader.end(), self._record.chosen
        if ended:
            return self._seal(ended[0])
        dialect = chosen.provider.dialect if chosen is not None else "openai"
        return self._seal(text_piece(dialect, text, self._member) or (_FAMILIES.get(dialect, "openai"), {}))

    def rest(self) -> list[str]:
        """Return the carriers of what ends with the answer."""
        return [self._seal(piece) for piece in self._reader.end()]

    def _seal(self, piece: Piece) -> str:
        family, members = piece
        if "tool_calls" in members:  # by the ids that the client has
            members = {"tool_calls": {tool_id(id): value for id, value in members["tool_calls"].items()}}
        return seal(self._call, family, members, self._provider)

    @property
    def _provider(self) -> str:
        return self._record.chosen.provider.name if self._record.chosen is not None else ""


def put_back(snapshot: Snapshot, principal: Principal, message: dict[str, Any], sealed: str) -> Carried | None:
    """Put what a carrier holds into an assistant's message, and return it; `None` if it cannot be opened."""
    carried = unseal(snapshot, principal, sealed)
    if carried is not None:
        restore(message, carried)
    return carried


def family_of(carried: Carried) -> DialectName | None:
    """Return the family of models that has signed what a carrier holds."""
    return _FAMILIES.get(carried.family) if carried.is_signed else None
