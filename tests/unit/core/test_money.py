"""Tests of proxy/core/money.py."""

from __future__ import annotations

import pytest

from proxy.core.model import Price
from proxy.core.money import cost_nusd, usd
from proxy.core.usage import Usage

PRICE = Price(input=150_000_000, output=600_000_000, cached_input=75_000_000, cache_write=190_000_000)


def test_a_million_tokens_cost_the_price() -> None:
    assert cost_nusd(Usage(input=1_000_000), PRICE) == 150_000_000
    assert cost_nusd(Usage(output=1_000_000), PRICE) == 600_000_000


def test_cached_and_written_tokens_are_parts_of_the_input() -> None:
    usage = Usage(input=1_000, cached=400, cache_write=100)

    assert cost_nusd(usage, PRICE) == 500 * 150 + 400 * 75 + 100 * 190


def test_reasoning_is_part_of_the_output() -> None:
    assert cost_nusd(Usage(output=10, reasoning=8), PRICE) == cost_nusd(Usage(output=10), PRICE)


@pytest.mark.parametrize(("per_million", "cost"), [(499_999, 0), (500_000, 1), (1_499_999, 1), (1_500_000, 2)])
def test_rounds_half_up(per_million: int, cost: int) -> None:
    assert cost_nusd(Usage(input=1), Price(per_million, 0, 0, 0)) == cost


@pytest.mark.parametrize(
    "usage",
    [Usage(input=10, cached=99), Usage(input=10, cached=10, cache_write=10), Usage(input=10, cached=10, output=-5)],
)
def test_parts_never_exceed_the_whole(usage: Usage) -> None:
    assert cost_nusd(usage, PRICE) == 10 * 75


def test_shows_dollars() -> None:
    assert usd(1_500_000_000) == 1.5
    assert usd(0) == 0.0
