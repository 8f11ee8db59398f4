"""The price book: finds a provider by its address, and the price of a model by the provider's id of it.

`book.json` is compiled from the library `genai-prices` by `tools/prices.py`, which describes it. The models of a
provider are decoded when the first of them is looked up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from msgspec import Raw, Struct
from msgspec.json import Decoder

from proxy.core.model import MediaPrice, Price, PriceTier, PriceTime

_FILE = Path(__file__).parent / "book.json"
_COMPACT_DATE = re.compile(r"-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")


class BookProvider(Struct, frozen=True):
    """A provider in the book; `address` is a pattern of the beginning of its addresses."""

    id: str
    address: str
    fallback: list[str]  # ids of the providers whose models it may serve too
    models: Raw


class _File(Struct, frozen=True):
    library: str  # name and version
    date: str
    providers: list[BookProvider]


Model = tuple[Any, Raw]  # what its ids match, and its price

_decode_file = Decoder(_File).decode
_decode_models = Decoder(list[Model]).decode
_decode_price = Decoder(dict[str, Any] | None).decode


class PriceBook:
    """The prices of all providers."""

    def __init__(self, file: bytes) -> None:
        content = _decode_file(file)
        self.version = content.library
        self._providers = {provider.id: provider for provider in content.providers}
        self._models: dict[str, list[Model]] = {}

    def provider_at(self, address: str) -> str | None:
        """Return the id of the provider that serves an address."""
        served = (provider.id for provider in self._providers.values() if _begins(address, provider.address))
        return next(served, None)

    def price_of(self, provider_id: str, model: str) -> Price | None:
        """Return the price of a model, by the provider's id of it; `None` if it is unknown."""
        provider = self._providers.get(provider_id)
        if provider is None:
            return None
        name = model.lower()
        for spelled in dict.fromkeys((name, _COMPACT_DATE.sub(r"-\1-\2-\3", name))):
            for served in (provider_id, *provider.fallback):
                for match, raw in self._models_of(served):
                    if _matches(match, spelled):
                        return self._read(raw, own=served == provider_id)
        return None

    def _read(self, raw: Raw, *, own: bool) -> Price | None:
        """Return a price; service tiers are those of the model's own provider."""
        fields = _decode_price(raw)
        if fields is None:
            return None
        price = _price(fields)
        return replace(price, version=self.version, services=price.services if own else ())

    def _models_of(self, provider_id: str) -> Sequence[Model]:
        if provider_id not in self._models:
            provider = self._providers.get(provider_id)
            self._models[provider_id] = [] if provider is None else _decode_models(provider.models)
        return self._models[provider_id]


@cache
def price_book() -> PriceBook:
    """Return the book of this version."""
    return PriceBook(_FILE.read_bytes())


def _begins(address: str, pattern: str) -> bool:
    """Return whether an address begins with a match of the pattern that does not end inside of a name."""
    literal = pattern.replace("\\.", ".")
    if re.escape(literal) == pattern.replace("-", "\\-"):
        end = len(literal) if address.startswith(literal) else 0  # compiling every pattern takes several milliseconds
    else:
        match = re.match(pattern, address)
        end = match.end() if match else 0
    return end > 0 and not (address[end - 1].isalnum() and address[end : end + 1] not in ("", "/", ":"))


def _price(fields: Mapping[str, Any]) -> Price:
    """Return the price with these fields, which are JSON values."""
    values = dict(fields)
    if "media" in values:
        values["media"] = MediaPrice(**values["media"])
    for name, kind in (("tiers", PriceTier), ("times", PriceTime)):
        if name in values:
            values[name] = tuple([kind(**{**item, "price": _price(item["price"])}) for item in values[name]])
    if "services" in values:
        values["services"] = tuple([(name, _price(other)) for name, other in values["services"]])
    return Price(**values)


def _matches(match: Any, name: str) -> bool:
    """Return whether a model's name, in lower case, matches; see `tools/prices.py`."""
    if isinstance(match, list):
        return (any if match[0] == "|" else all)(_matches(item, name) for item in match[1:])
    kind, text = match[0], match[1:]
    if kind == "=":
        return bool(name == text)
    if kind == "^":
        return name.startswith(text)
    if kind == "$":
        return name.endswith(text)
    if kind == "~":
        return text in name
    return re.search(text, name) is not None
