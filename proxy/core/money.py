"""The cost of an answer in whole nano-dollars, so that every store can add it up; floats appear only in output."""

from __future__ import annotations

from proxy.core.model import Price
from proxy.core.usage import Usage

_TOKENS = 1_000_000  # prices are per million tokens
NUSD = 1_000_000_000  # nano-dollars in a dollar


def cost_nusd(usage: Usage, price: Price) -> int:
    """Return the cost of one answer, rounded half up.

    `cached` and `cache_write` are parts of `input`, and `reasoning` of `output`. Parts larger than the whole and
    counts below zero are read as the nearest possible count.
    """
    whole = max(0, usage.input)
    total = whole * price.input + max(0, usage.output) * price.output
    if usage.cached > 0 or usage.cache_write > 0:
        cached = min(max(0, usage.cached), whole)
        written = min(max(0, usage.cache_write), whole - cached)
        total += cached * (price.cached_input - price.input) + written * (price.cache_write - price.input)
    return (total + _TOKENS // 2) // _TOKENS


def usd(nusd: int) -> float:
    """Return nano-dollars as dollars, for output."""
    return nusd / NUSD
