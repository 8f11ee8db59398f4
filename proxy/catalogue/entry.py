"""What an entry of the catalogue is made of. An absent field is unknown, and an unknown value passes every filter.

Prices are the standard ones of the shorter prompts where a vendor has tiers, in USD per million tokens. `thinking` and
`thinking_off` are members of the vendor's own request, to be merged into it as they are: `thinking` by the value of
`reasoning_effort`, `thinking_off` what switches thinking off, `{}` where it is off unless asked for and None where it
cannot be switched off. An effort that a model has no word for has the members of the next lower one that it has, or of
its lowest, so that nobody pays for more thought than was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from proxy.core.dialects import DialectName
from proxy.core.model import EMPTY, Kind

EFFORTS = ("minimal", "low", "medium", "high", "xhigh", "max")  # as `reasoning_effort` has them, beside `none`


@dataclass(frozen=True, slots=True)
class Usd:
    """A price as the vendor writes it; an absent cache price is taken as `input`."""

    input: str
    output: str
    cached_input: str | None = None
    cache_write: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One model. `source` is the vendor's page that describes it; `aliases` are other ids for the same model."""

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
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Vendor:
    """A vendor: the hosts that serve its API, the dialect that `thinking` is written in, its models."""

    name: str
    hosts: tuple[str, ...]
    dialect: DialectName
    entries: tuple[Entry, ...]


def by_effort(words: tuple[str, ...], members: Callable[[str], Mapping[str, Any]]) -> Mapping[str, Mapping[str, Any]]:
    """Every effort with the members of the nearest of `words`, which are efforts that a model knows."""
    known = [effort for effort in EFFORTS if effort in words]
    table = {}
    for place, effort in enumerate(EFFORTS):
        below = [word for word in known if EFFORTS.index(word) <= place]
        table[effort] = MappingProxyType(dict(members(below[-1] if below else known[0])))
    return MappingProxyType(table)


def effort_words(*words: str) -> Mapping[str, Mapping[str, Any]]:
    """`thinking` of an API that takes OpenAI's `reasoning_effort` with these values."""
    return by_effort(words, lambda word: {"reasoning_effort": word})
