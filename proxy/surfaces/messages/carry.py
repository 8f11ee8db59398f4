"""Carriers in thinking blocks: what a provider needs back, sealed in the `signature` of a block of the answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.core.call import Call
from proxy.core.dialects import DialectName
from proxy.core.principal import Principal
from proxy.core.record import Record
from proxy.core.snapshot import Snapshot
from proxy.surfaces.carriers import pieces, restore, seal, text_piece, unseal
from proxy.surfaces.messages.facts import tool_id

_FAMILIES: Mapping[str, DialectName] = {"anthropic": "anthropic", "gemini": "gemini", "openai": "openai"}


class Seals:
    """Seals what one answer carries."""

    def __init__(self, call: Call, record: Record) -> None:
        self._call = call
        self._record = record

    def of(self, message: Mapping[str, Any]) -> Iterator[str]:
        """Yield a carrier for each part of a delta or message that the provider needs back."""
        for family, members in pieces(message):
            if "tool_calls" in members:  # by the ids that the client has
                members = {"tool_calls": {tool_id(id): value for id, value in members["tool_calls"].items()}}
            yield seal(self._call, family, members, self._provider)

    def thinking(self, text: str) -> str:
        """Return a carrier of unsigned thinking, for models that need the text back; empty for others."""
        chosen = self._record.chosen
        piece = text_piece(chosen.provider.dialect, text) if chosen is not None else None
        return "" if piece is None else seal(self._call, *piece, self._provider)

    @property
    def _provider(self) -> str:
        return self._record.chosen.provider.name if self._record.chosen is not None else ""


def put_back(snapshot: Snapshot, principal: Principal, message: dict[str, Any], sealed: str) -> DialectName | None:
    """Put what a carrier holds into an assistant's message; return its family, `None` if it cannot be opened."""
    carried = unseal(snapshot, principal, sealed)
    if carried is None:
        return None
    restore(message, carried)
    return _FAMILIES.get(carried.family)
