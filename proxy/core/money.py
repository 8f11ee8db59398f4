"""What an answer costs, in whole nano-dollars so that every store can add it up. No floats until it is shown."""

from __future__ import annotations

from proxy.core.model import Price
from proxy.core.usage import Usage

_TOKENS = 1_000_000  # prices are per million tokens
_NUSD = 1_000_000_000  # nano-dollars in a dollar


def cost_nusd(usage: Usage, price: Price) -> int:
    """The cost of one answer, rounded half up.

    `cached` and `cache_write` are parts of `input`, and `reasoning` of `output`; a provider that counts more parts than
    whole, or below zero, is read as the nearest count that makes sense.
    """
    whole = max(0, usage.input)
    cached = min(max(0, usage.cached), whole)
    written = min(max(0, usage.cache_write), whole - cached)
    total = (
        (whole - cached - written) * price.input
        + cached * price.cached_input
        + written * price.cache_write
        + max(0, usage.output) * price.output
    )
    return (total + _TOKENS // 2) // _TOKENS


def usd(nusd: int) -> float:
    """Nano-dollars as dollars, for people and JSON."""
    return nusd / _NUSD
