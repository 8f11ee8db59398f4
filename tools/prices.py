"""Compiles the prices of the library `genai-prices` to `proxy/prices/book.json`, in whole nano-dollars.

    python -m tools.prices        writes the file

Importing the library takes longer than the whole start of Signalbox may take, so it is read here, not at run time. The
file contains the prices in force on its `date` and those that begin later; a price of the past is in the records that
it was used for. A unit test compares the file with the installed library.

A model is `[match, price]`, in the library's order: the first match counts. `match` is `=text` (equals), `^text`
(begins with), `$text` (ends with), `~text` (contains), `/pattern`, or a list with `|` (any) or `&` (all) and others.
`price` has the fields of `proxy.core.model.Price`; null for models that are not billed by tokens.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

from genai_prices import types
from genai_prices.data import providers

from proxy.core.clock import SystemClock

BOOK = Path(__file__).parent.parent / "proxy" / "prices" / "book.json"
LIBRARY = "genai-prices"
_NANO = 10**9
_PER_TOKEN = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cached_input": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "reasoning": "output_reasoning_mtok",
}
_MEDIA = {
    "input_audio": "input_audio_mtok",
    "cached_audio": "cache_audio_read_mtok",
    "output_audio": "output_audio_mtok",
    "input_image": "input_image_mtok",
    "cached_image": "cache_image_read_mtok",
    "output_image": "output_image_mtok",
}
_REQUEST = "requests_kcount"
_NOT_COUNTED = {"web_searches_kcount", "storage_searches_kcount"}  # searches that only some requests make
_PRICED = {*_PER_TOKEN.values(), *_MEDIA.values(), _REQUEST, *_NOT_COUNTED}

Rates = Mapping[str, Decimal | types.TieredPrices]  # by the library's name


def book(on: date) -> dict[str, Any]:
    """Return the content of the file, with the prices in force on a day."""
    return {
        "library": f"{LIBRARY} {version(LIBRARY)}",
        "date": on.isoformat(),
        "providers": [
            {
                "id": provider.id,
                "address": provider.api_pattern,
                "fallback": provider.fallback_model_providers or [],
                "models": [[_match(model.match), _model_price(model, on)] for model in provider.models],
            }
            for provider in providers
        ],
    }


def text(content: Mapping[str, Any]) -> str:
    """Return the file's text, with one model a line."""
    lines = [f'{{"library": {_json(content["library"])}, "date": {_json(content["date"])}, "providers": [']
    for number, provider in enumerate(content["providers"]):
        head = _json({name: value for name, value in provider.items() if name != "models"})
        lines.append(f'{"," if number else ""}{head[:-1]},"models":[')
        lines.append(",\n".join(_json(model) for model in provider["models"]))
        lines.append("]}")
    return "\n".join([*lines, "]}", ""])


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _match(clause: Any) -> Any:
    """Return the clause in the file's form."""
    match clause:
        case types.ClauseOr():
            return ["|", *map(_match, clause.or_)]
        case types.ClauseAnd():
            return ["&", *map(_match, clause.and_)]
        case types.ClauseRegex():
            return "/" + clause.regex
        case types.ClauseEquals():
            return "=" + clause.equals.lower()
        case types.ClauseStartsWith():
            return "^" + clause.starts_with.lower()
        case types.ClauseEndsWith():
            return "$" + clause.ends_with.lower()
        case types.ClauseContains():
            return "~" + clause.contains.lower()
    raise TypeError(f"unknown clause {clause!r}")


def _model_price(model: types.ModelInfo, on: date) -> dict[str, Any] | None:
    """Return the price of a model; `None` if a part of it is not per token."""
    known = model.prices
    conditional = known if isinstance(known, list) else [types.ConditionalPrice(prices=known)]
    holds = [index for index, price in enumerate(conditional) if _begun(price.constraint, on)]
    latest = holds[-1] if holds else 0
    later = reversed(conditional[latest + 1 :] if holds else conditional)  # the last one that is active counts
    every = [conditional[latest], *later]
    rates = [_rates(price.prices) for price in every]
    if any(set(rate) - _PRICED or (rate and _PER_TOKEN["input"] not in rate) for rate in rates):
        return None
    compiled = [_with_services(rate, model, on) for rate in rates]
    price = compiled[0]
    times = [{"price": other, **_period(one.constraint)} for one, other in zip(every[1:], compiled[1:], strict=True)]
    return {**price, "times": times} if times else price


def _begun(constraint: Any, on: date) -> bool:
    """Return whether a price holds at all times from a day on."""
    return constraint is None or (isinstance(constraint, types.StartDateConstraint) and constraint.start_date <= on)


def _period(constraint: Any) -> dict[str, int]:
    if isinstance(constraint, types.StartDateConstraint):
        start = datetime.combine(constraint.start_date, time(), UTC)
        return {"start": int(start.timestamp()) * 1_000_000}
    return {"day_from": _second(constraint.start_time), "day_until": _second(constraint.end_time)}


def _second(of: time) -> int:
    if of.utcoffset():
        raise ValueError(f"{of} is not in UTC")
    return of.hour * 3_600 + of.minute * 60 + of.second


def _rates(price: types.ModelPrice) -> dict[str, Any]:
    return {name: value for name, value in vars(price).items() if value is not None}


def _with_services(rates: Rates, model: types.ModelInfo, on: date) -> dict[str, Any]:
    """Return the price with those of the provider's service tiers that differ."""
    price = _price(rates)
    services: dict[str, dict[str, Any]] = {}
    for variant in model.price_variants or ():
        name = variant.when.get("service_tier")
        if name is not None and len(variant.when) == 1 and _begun(variant.constraint, on):
            services.setdefault(name, _price({**rates, **_rates(variant.prices)}))
    different = [[name, other] for name, other in services.items() if other != price]
    return {**price, "services": different} if different else price


def _price(rates: Rates) -> dict[str, Any]:
    starts = {tier.start for rate in rates.values() if isinstance(rate, types.TieredPrices) for tier in rate.tiers}
    price = _flat({name: _rate(rate, 0) for name, rate in rates.items()})
    tiers = [
        {"above": start, "price": _flat({name: _rate(rate, start + 1) for name, rate in rates.items()})}
        for start in sorted(starts)
    ]
    return {**price, "tiers": tiers} if tiers else price


def _rate(rate: Decimal | types.TieredPrices, tokens: int) -> int:
    """Return nano-dollars for a prompt with so many tokens."""
    if isinstance(rate, types.TieredPrices):
        usd = next((tier.price for tier in reversed(rate.tiers) if tokens > tier.start), rate.base)
    else:
        usd = rate
    return int((usd * _NANO).to_integral_value())  # some were computed in floats: 0.18000000000000002


def _flat(rates: Mapping[str, int]) -> dict[str, Any]:
    """Return the price without its tiers; what has no rate of its own costs as much as what it is a part of."""
    known = {name: rates[key] for name, key in _PER_TOKEN.items() if key in rates}
    plain = known.get("input", 0)
    price: dict[str, Any] = {"input": plain, "output": 0, "cached_input": plain, "cache_write": plain, **known}
    media = {name: rates[key] for name, key in _MEDIA.items() if key in rates}
    if media:
        price["media"] = dict(_all_media(price, media))
    if _REQUEST in rates:
        price["request"] = rates[_REQUEST] // 1_000
    return price


def _all_media(price: Mapping[str, int], media: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    for kind in ("audio", "image"):
        read = media.get(f"input_{kind}", price["input"])
        yield f"input_{kind}", read
        yield f"cached_{kind}", media.get(f"cached_{kind}", read if f"input_{kind}" in media else price["cached_input"])
        yield f"output_{kind}", media.get(f"output_{kind}", price["output"])


def main() -> None:
    """Write the file."""
    today = datetime.fromtimestamp(SystemClock().time(), UTC).date()
    BOOK.write_text(text(book(today)), encoding="utf-8")
    sys.stdout.write(f"{BOOK.name}: {LIBRARY} {version(LIBRARY)}, {BOOK.stat().st_size // 1024} KiB\n")


if __name__ == "__main__":
    main()
