"""Compiles prices to whole nano-dollars, and shows compiled prices in USD."""

import hashlib
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from proxy.catalogue.entry import Usd
from proxy.config.settings.models import PriceSettings, RateSettings
from proxy.core.model import MediaPrice, Price, PriceTier, PriceTime
from proxy.core.money import NUSD, nano_dollars

_DIGITS = 8  # of the version of a price in the file
_RATES = ("input", "cached_input", "cache_write", "cache_write_1h", "reasoning", "output")
_US = 10**6


def compile_price(settings: PriceSettings, source: str = "configured") -> Price:
    """Return the price; its version is the source, and a digest of the numbers."""
    tiers = sorted(settings.tiers, key=lambda tier: tier.above)
    price = replace(_rates(settings), tiers=tuple([PriceTier(tier.above, _rates(tier)) for tier in tiers]))
    digest = hashlib.sha256(repr(price).encode()).hexdigest()[:_DIGITS]
    return replace(price, version=f"{source} {digest}")


def price_of_entry(usd: Usd, source: str) -> Price:
    """Return the price of an entry of the catalogue."""
    settings = RateSettings(
        input=Decimal(usd.input),
        output=Decimal(usd.output),
        cached_input=None if usd.cached_input is None else Decimal(usd.cached_input),
        cache_write=None if usd.cache_write is None else Decimal(usd.cache_write),
    )
    return replace(_rates(settings), version=source)


def _rates(settings: RateSettings) -> Price:
    def or_input(usd: Decimal | None) -> int:
        return nano_dollars(settings.input if usd is None else usd)

    return Price(
        input=nano_dollars(settings.input),
        output=nano_dollars(settings.output),
        cached_input=or_input(settings.cached_input),
        cache_write=or_input(settings.cache_write),
        cache_write_1h=None if settings.cache_write_1h is None else nano_dollars(settings.cache_write_1h),
    )


def price_view(price: Price) -> dict[str, Any]:
    """Return the price in USD per million tokens, as JSON values; rates that equal `input` are left out."""
    view: dict[str, Any] = {}
    for name in _RATES:
        rate = getattr(price, name)
        if rate is not None and (name in ("input", "output") or rate != price.input):
            view[name] = rate / NUSD
    if price.media is not None:
        view |= _media_view(price, price.media)
    if price.request:
        view["request"] = price.request / NUSD
    if price.tiers:
        view["tiers"] = [{"above": tier.above, **price_view(tier.price)} for tier in price.tiers]
    if price.times:
        view["times"] = [{**_period(time), **price_view(time.price)} for time in price.times]
    if price.services:
        view["services"] = {name: price_view(other) for name, other in price.services}
    return view


def price_lines(view: Mapping[str, Any]) -> list[str]:
    """Return the view of a price as lines: the rates, then those of long prompts, of times and of service tiers."""
    rates = [f"{name} {value:g}" for name, value in view.items() if isinstance(value, int | float) and name != "above"]
    lines = [", ".join(rates)]
    lines += [f"above {tier['above']} tokens: {_line(tier)}" for tier in view.get("tiers", ())]
    for time in view.get("times", ()):
        when = f"from {time['start']}" if "start" in time else f"from {time['from']} to {time['until']} UTC"
        lines.append(f"{when}: {_line(time)}")
    return lines + [f"{name}: {_line(other)}" for name, other in view.get("services", {}).items()]


def _line(view: Mapping[str, Any]) -> str:
    return "; ".join(price_lines(view))


def _period(time: PriceTime) -> dict[str, str]:
    if time.start:
        return {"start": datetime.fromtimestamp(time.start / _US, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
    return {"from": _clock(time.day_from), "until": _clock(time.day_until)}


def _clock(second: int) -> str:
    return f"{second // 3_600:02}:{second // 60 % 60:02}"


def _media_view(price: Price, media: MediaPrice) -> Mapping[str, float]:
    plain = {"input": price.input, "cached": price.cached_input, "output": price.output}
    rates = {field.name: getattr(media, field.name) for field in fields(media)}
    return {name: rate / NUSD for name, rate in rates.items() if rate != plain[name.partition("_")[0]]}
