"""Prices as whole nano-dollars, and their view in USD."""

from decimal import Decimal

import pytest

from proxy.config.compile.prices import compile_price, price_lines, price_view
from proxy.config.settings.models import PriceSettings, PriceTierSettings
from proxy.core.model import MediaPrice, Price, PriceTier, PriceTime

TIER = PriceTierSettings(above=200_000, input=Decimal(2), output=Decimal("7.5"), cached_input=Decimal("0.2"))


def settings(input: str = "1", **fields: object) -> PriceSettings:
    return PriceSettings(input=Decimal(input), output=Decimal(5), **fields)  # type: ignore[arg-type]


def test_absent_rates_are_those_of_the_input() -> None:
    price = compile_price(settings(cache_write=Decimal("1.25")))

    assert price == Price(10**9, 5 * 10**9, cached_input=10**9, cache_write=1_250_000_000)
    assert price.cache_write_1h is None


def test_tiers_are_sorted_by_their_start() -> None:
    longest = TIER.model_copy(update={"above": 500_000})
    price = compile_price(settings(tiers=(longest, TIER)))

    assert [tier.above for tier in price.tiers] == [200_000, 500_000]
    assert price.tiers[0].price == Price(2 * 10**9, 7_500_000_000, cached_input=200_000_000, cache_write=2 * 10**9)


def test_the_version_changes_with_any_number() -> None:
    prices = [settings(), settings("2"), settings(cache_write_1h=Decimal(2)), settings(tiers=(TIER,)), settings("1.0")]

    versions = [compile_price(price).version for price in prices]
    assert versions[0] == versions[4]
    assert len(set(versions)) == 4


PLAIN = Price(10**9, 5 * 10**9, cached_input=10**9, cache_write=10**9)
PEAK = Price(2 * 10**9, 10**10, cached_input=2 * 10**9, cache_write=2 * 10**9)
AUDIO = MediaPrice(3 * 10**9, 10**9, 5 * 10**9, 10**9, 10**9, 5 * 10**9)


@pytest.mark.parametrize(
    ("price", "view", "text"),
    [
        (PLAIN, {}, ""),
        (
            Price(10**9, 5 * 10**9, 10**8, 10**9, cache_write_1h=2 * 10**9, request=12_000_000),
            {"cached_input": 0.1, "cache_write_1h": 2.0, "request": 0.012},
            None,
        ),
        (Price(10**9, 5 * 10**9, 10**9, 10**9, media=AUDIO), {"input_audio": 3.0}, ", input_audio 3"),
        (
            Price(10**9, 5 * 10**9, 10**9, 10**9, tiers=(PriceTier(200_000, PEAK),)),
            {"tiers": [{"above": 200_000, "input": 2.0, "output": 10.0}]},
            "; above 200000 tokens: input 2, output 10",
        ),
        (
            Price(10**9, 5 * 10**9, 10**9, 10**9, times=(PriceTime(PEAK, day_from=3_600, day_until=16_200),)),
            {"times": [{"from": "01:00", "until": "04:30", "input": 2.0, "output": 10.0}]},
            "; from 01:00 to 04:30 UTC: input 2, output 10",
        ),
        (
            Price(10**9, 5 * 10**9, 10**9, 10**9, times=(PriceTime(PEAK, start=1_798_761_600 * 10**6),)),
            {"times": [{"start": "2027-01-01T00:00:00Z", "input": 2.0, "output": 10.0}]},
            "; from 2027-01-01T00:00:00Z: input 2, output 10",
        ),
        (
            Price(10**9, 5 * 10**9, 10**9, 10**9, services=(("priority", PEAK),)),
            {"services": {"priority": {"input": 2.0, "output": 10.0}}},
            "; priority: input 2, output 10",
        ),
    ],
)
def test_the_view_has_the_rates_that_differ(price: Price, view: dict[str, object], text: str | None) -> None:
    assert price_view(price) == {"input": 1.0, "output": 5.0, **view}
    if text is not None:
        assert "; ".join(price_lines(price_view(price))) == "input 1, output 5" + text
