"""The effective settings of each model, from the file, else the catalogue, else the default, with their origin.

The catalogue applies to models with `like`, and to providers whose address is a known vendor's. Its `thinking` values
use the vendor's own dialect and apply only there; all others apply to a vendor's OpenAI-compatible endpoint too.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from proxy.catalogue.entry import Entry, Usd, Vendor
from proxy.catalogue.lookup import DATE, VENDORS, find, named, vendor_of
from proxy.config.settings.models import ModelSettings, PriceSettings
from proxy.config.settings.providers import ProviderSettings
from proxy.config.settings.schema import Settings

FROM_CATALOGUE = f"catalogue {DATE}"
_INHERITED = (
    "kind",
    "price",
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

    settings: ModelSettings
    origins: Mapping[str, str]  # field -> `yaml`, `catalogue 2026-..` or `default`
    entry: Entry | None = None


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
    if provider is None or vendor is None or entry is None:
        return Effective(model, dict(_origins(model, {})))
    return _with_entry(model, entry, native=provider.dialect == vendor.dialect)


def of_entry(name: str, entry: Entry, provider: ProviderSettings, vendor: Vendor) -> Effective:
    """The settings of a model that only the catalogue lists."""
    return _with_entry(ModelSettings(id=name), entry, native=provider.dialect == vendor.dialect)


def effective_models(settings: Settings, unlisted: tuple[str, ...] = ()) -> list[Effective]:
    """Every model of the file in order, then the models that only routes use."""
    models = [*settings.models, *(ModelSettings(id=name) for name in unlisted)]
    return [effective(model, settings.providers.get(model.id.partition("/")[0])) for model in models]


def _with_entry(model: ModelSettings, entry: Entry, *, native: bool) -> Effective:
    added = {name: value for name, value in _values(entry, native) if name not in model.model_fields_set}
    return Effective(model.model_copy(update=added), dict(_origins(model, added)), entry)


def _values(entry: Entry, native: bool) -> Iterator[tuple[str, Any]]:
    """The values of an entry, in the form of the settings."""
    for name in _INHERITED:
        value = getattr(entry, name)
        unknown = value is None or (name in ("unsupported", "thinking") and not value)
        if unknown or (name in ("thinking", "thinking_off") and not native):
            continue
        yield name, _price(value) if isinstance(value, Usd) else _plain(value)


def _plain(value: Any) -> Any:
    """The value with its mappings converted to `dict`."""
    return {name: _plain(item) for name, item in value.items()} if isinstance(value, Mapping) else value


def _price(usd: Usd) -> PriceSettings:
    prices = {
        "input": usd.input,
        "output": usd.output,
        "cached_input": usd.cached_input,
        "cache_write": usd.cache_write,
    }
    return PriceSettings(**{name: Decimal(text) for name, text in prices.items() if text is not None})


def _origins(model: ModelSettings, added: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ModelSettings.model_fields:
        if name in model.model_fields_set:
            yield name, "yaml"
        else:
            yield name, FROM_CATALOGUE if name in added else "default"
