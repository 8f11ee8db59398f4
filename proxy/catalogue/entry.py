"""The types of the catalogue. An absent field is unknown, and an unknown value passes every filter.

Prices come from the price book (`proxy/prices/`); an entry has a price only while the book does not have the model.
`thinking` and `thinking_off` are members that are merged into the vendor's native request: `thinking` for each value of
`reasoning_effort`; `thinking_off` to disable thinking, `{}` if it is off by default, None if it cannot be disabled. An
effort that a model does not support uses the members of the next lower supported one, else of the lowest, so that a
call never costs more thinking than requested.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from proxy.core.dialects import DialectName
from proxy.core.model import EMPTY, Kind

EFFORTS = ("minimal", "low", "medium", "high", "xhigh", "max")  # values of `reasoning_effort`, besides `none`


@dataclass(frozen=True, slots=True)
class Usd:
    """A price in USD per million tokens, as decimal text; an absent cache price equals `input`."""

    input: str
    output: str
    cached_input: str | None = None
    cache_write: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One model. `source` is the URL of the vendor's page on it; `aliases` are other ids for the same model."""

    id: str
    source: str
    kind: Kind = "chat"
    context_window: int | None = None
    max_output: int | None = None
    capabilities: tuple[str, ...] | None = None
    unsupported: tuple[str, ...] = ()
    thinking: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: EMPTY)
    thinking_off: Mapping[str, Any] | None = None
    price: Usd | None = None
    image_tokens: int | None = None  # the most input tokens of one image; None: as the vendor's
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Vendor:
    """A vendor: the hosts that serve its API, the dialect of the members in `thinking`, and its models."""

    name: str
    hosts: tuple[str, ...]
    dialect: DialectName
    entries: tuple[Entry, ...]
    prices: str = ""  # its id in the price book, if that is not its name
    image_tokens: int | None = None  # the most input tokens of one image

    @property
    def in_book(self) -> str:
        """Its id in the price book."""
        return self.prices or self.name


def by_effort(words: tuple[str, ...], members: Callable[[str], Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
    """Return the members for every effort; `words` are the efforts that the model supports."""
    known = [effort for effort in EFFORTS if effort in words]
    table = {}
    for position, effort in enumerate(EFFORTS):
        below = [word for word in known if EFFORTS.index(word) <= position]
        table[effort] = MappingProxyType(dict(members(below[-1] if below else known[0])))
    return MappingProxyType(table)


def effort_words(*words: str) -> Mapping[str, Mapping[str, Any]]:
    """Return `thinking` for an API that accepts OpenAI's `reasoning_effort` with these values."""
    return by_effort(words, lambda word: {"reasoning_effort": word})
