"""What holds for each model: the file's word, else the catalogue's, else the default; and which of them it was.

The catalogue is asked for models that say which of its models they are `like`, and for providers whose address is a
known vendor's. Its `thinking` is written in the vendor's own dialect and holds for that one only; all else holds for a
vendor's OpenAI-compatible endpoint too.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from proxy.catalogue.entry import Entry, Usd, Vendor
from proxy.catalogue.lookup import DATE, VENDORS, find, named, vendor_of
from proxy.config.providers import ModelSettings, PriceSettings, ProviderSettings
from proxy.config.schema import Settings

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
    """One model's settings with what the catalogue adds, where each comes from, and the entry behind it."""

    settings: ModelSettings
    origins: Mapping[str, str]  # field -> `yaml`, `catalogue 2026-..` or `default`
    entry: Entry | None = None


def known_vendor(provider: ProviderSettings) -> Vendor | None:
    """The vendor whose models a provider serves, as far as its address tells."""
    if provider.vertex:
        return next(vendor for vendor in VENDORS if vendor.dialect == "gemini")
    return vendor_of(provider.address)


def effective(model: ModelSettings, provider: ProviderSettings | None) -> Effective:
    """Fill in from the catalogue what the file leaves open."""
    vendor = None if provider is None else known_vendor(provider)
    entry = None if vendor is None else find(vendor, model.id.partition("/")[2])
    if model.like is not None and (found := named(model.like)) is not None:
        vendor, entry = found
    if provider is None or vendor is None or entry is None:
        return Effective(model, dict(_origins(model, {})))
    return _with_entry(model, entry, native=provider.dialect == vendor.dialect)


def of_entry(name: str, entry: Entry, provider: ProviderSettings, vendor: Vendor) -> Effective:
    """A model that the file does not list, as the catalogue has it."""
    return _with_entry(ModelSettings(id=name), entry, native=provider.dialect == vendor.dialect)


def effective_models(settings: Settings, unlisted: tuple[str, ...] = ()) -> list[Effective]:
    """Every model of the file in its order, then those that only routes name."""
    models = [*settings.models, *(ModelSettings(id=name) for name in unlisted)]
    return [effective(model, settings.providers.get(model.id.partition("/")[0])) for model in models]


def _with_entry(model: ModelSettings, entry: Entry, *, native: bool) -> Effective:
    added = {name: value for name, value in _values(entry, native) if name not in model.model_fields_set}
    return Effective(model.model_copy(update=added), dict(_origins(model, added)), entry)


def _values(entry: Entry, native: bool) -> Iterator[tuple[str, Any]]:
    """What the entry knows, as the settings would have it."""
    for name in _INHERITED:
        value = getattr(entry, name)
        unknown = value is None or (name in ("unsupported", "thinking") and not value)
        if unknown or (name in ("thinking", "thinking_off") and not native):
            continue
        yield name, _price(value) if isinstance(value, Usd) else _plain(value)


def _plain(value: Any) -> Any:
    """The value with its mappings as plain ones."""
    return {name: _plain(item) for name, item in value.items()} if isinstance(value, Mapping) else value


def _price(usd: Usd) -> PriceSettings:
    given = {"input": usd.input, "output": usd.output, "cached_input": usd.cached_input, "cache_write": usd.cache_write}
    return PriceSettings(**{name: Decimal(text) for name, text in given.items() if text is not None})


def _origins(model: ModelSettings, added: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ModelSettings.model_fields:
        if name in model.model_fields_set:
            yield name, "yaml"
        else:
            yield name, FROM_CATALOGUE if name in added else "default"
