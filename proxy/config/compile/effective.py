"""The effective settings of each model, from the file, else the catalogue, else the default, with their origin.

The catalogue applies to models with `like`, and to providers whose address is a known vendor's. Its `thinking` values
use the vendor's own dialect and apply only there; all others apply to a vendor's OpenAI-compatible endpoint too. Prices
that the file does not set are those of the price book, which knows more providers than the catalogue.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.catalogue.entry import Entry, Vendor
from proxy.catalogue.lookup import DATE, VENDORS, find, named, vendor_of
from proxy.config.compile.prices import compile_price, price_of_entry
from proxy.config.settings.models import ModelSettings
from proxy.config.settings.providers import ProviderSettings
from proxy.config.settings.schema import Settings
from proxy.core.model import Price
from proxy.prices.book import price_book

FROM_CATALOGUE = f"catalogue {DATE}"
_INHERITED = (
    "kind",
    "context_window",
    "max_output",
    "capabilities",
    "unsupported",
    "thinking",
    "thinking_off",
)


@dataclass(frozen=True, slots=True)
class Effective:
    """One model's settings including those of the catalogue, their origins, and the catalogue entry."""

    settings: ModelSettings  # without the price, unless the file sets it
    origins: Mapping[str, str]  # field -> `yaml`, `catalogue 2026-..`, `genai-prices ...` or `default`
    entry: Entry | None = None
    price: Price | None = None
    image_tokens: int | None = None  # the most input tokens of one image


def known_vendor(provider: ProviderSettings) -> Vendor | None:
    """The vendor whose models a provider serves, by its address; None if unknown."""
    if provider.vertex:
        return next(vendor for vendor in VENDORS if vendor.dialect == "gemini")
    return vendor_of(provider.address)


def effective(model: ModelSettings, provider: ProviderSettings | None) -> Effective:
    """Fill in settings that are absent in the file from the catalogue."""
    vendor = None if provider is None else known_vendor(provider)
    entry = None if vendor is None else find(vendor, model.id.partition("/")[2])
    if model.like is not None and (match := named(model.like)) is not None:
        vendor, entry = match
    if provider is None:
        return Effective(model, dict(_origins(model, {})), price=_own_price(model))
    return _with_entry(model, entry, provider, vendor)


def of_entry(name: str, entry: Entry, provider: ProviderSettings, vendor: Vendor) -> Effective:
    """The settings of a model that only the catalogue lists."""
    return _with_entry(ModelSettings(id=name), entry, provider, vendor)


def effective_models(settings: Settings, unlisted: tuple[str, ...] = ()) -> list[Effective]:
    """Every model of the file in order, then the models that only routes use."""
    models = [*settings.models, *(ModelSettings(id=name) for name in unlisted)]
    return [effective(model, settings.providers.get(model.id.partition("/")[0])) for model in models]


def _with_entry(
    model: ModelSettings, entry: Entry | None, provider: ProviderSettings, vendor: Vendor | None
) -> Effective:
    added = {}
    image_tokens = None
    if entry is not None and vendor is not None:
        values = _values(entry, native=provider.dialect == vendor.dialect)
        added = {name: value for name, value in values if name not in model.model_fields_set}
        image_tokens = entry.image_tokens or vendor.image_tokens
    origins = dict(_origins(model, added))
    price = _own_price(model)
    if "price" not in model.model_fields_set:
        price = _known_price(model, entry, provider, vendor)
        origins["price"] = "default" if price is None else price.version
    return Effective(model.model_copy(update=added), origins, entry, price, image_tokens)


def _own_price(model: ModelSettings) -> Price | None:
    return None if model.price is None else compile_price(model.price)


def _known_price(
    model: ModelSettings, entry: Entry | None, provider: ProviderSettings, vendor: Vendor | None
) -> Price | None:
    """Return the price in the book, by the id at the provider, else by that of the entry; else the entry's price."""
    book = price_book()
    in_book = None if provider.address is None else book.provider_at(provider.address)
    name = model.id.partition("/")[2]
    if vendor is not None:
        in_book = vendor.in_book
        name = entry.id if entry is not None and model.like is not None else name
    price = None if in_book is None else book.price_of(in_book, name)
    if price is None and entry is not None and in_book is not None:
        price = book.price_of(in_book, entry.id)
    if price is None and entry is not None and entry.price is not None:
        price = price_of_entry(entry.price, FROM_CATALOGUE)
    return price


def _values(entry: Entry, native: bool) -> Iterator[tuple[str, Any]]:
    """The values of an entry, in the form of the settings."""
    for name in _INHERITED:
        value = getattr(entry, name)
        unknown = value is None or (name in ("unsupported", "thinking") and not value)
        if unknown or (name in ("thinking", "thinking_off") and not native):
            continue
        yield name, _plain(value)


def _plain(value: Any) -> Any:
    """The value with its mappings converted to `dict`."""
    return {name: _plain(item) for name, item in value.items()} if isinstance(value, Mapping) else value


def _origins(model: ModelSettings, added: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ModelSettings.model_fields:
        if name in model.model_fields_set:
            yield name, "yaml"
        else:
            yield name, FROM_CATALOGUE if name in added else "default"
