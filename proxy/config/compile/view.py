"""The effective values of all models with their origins, as JSON values and as text."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from proxy.catalogue.lookup import DATE
from proxy.config.compile.effective import Effective, effective_models
from proxy.config.compile.prices import price_lines, price_view
from proxy.config.compile.snapshot import compile_snapshot
from proxy.config.settings.models import ModelSettings
from proxy.config.settings.schema import Settings
from proxy.core.model import EMPTY
from proxy.prices.book import price_book

OVERRIDE = "override"  # the origin of what the admin API changed
_HIDDEN = ("id",)  # the heading of the block


def models_view(settings: Settings, overridden: Mapping[str, Collection[str]] = EMPTY) -> dict[str, Any]:
    """Every model of the file, and the models that only routes use; `overridden` are the fields with overrides.

    `{"catalogue": "2026-11", "prices": "genai-prices ...", "models": [{"id", "source", "fields": {name: {"value",
    "from"}}}]}`; `source` is the page that the catalogue's values are from, or null; `from` is `override`, `yaml`,
    `catalogue 2026-11`, `genai-prices ...` (the price book) or `default`.
    """
    listed = {model.id for model in settings.models}
    unlisted = tuple(sorted(compile_snapshot(settings).known - listed))
    models = [_shown(model, overridden.get(model.settings.id, ())) for model in effective_models(settings, unlisted)]
    return {"catalogue": DATE, "prices": price_book().version, "models": models}


def models_text(view: Mapping[str, Any]) -> str:
    """The view as text: one block per model, without unset defaults."""
    return "\n\n".join("\n".join(_lines(model)) for model in view["models"])


def shown_fields(model: ModelSettings, names: Iterable[str]) -> dict[str, Any]:
    """Return the named settings as JSON values: durations in seconds, prices in USD per million tokens."""
    return {name: _value(getattr(model, name)) for name in names}


def effective_values(model: Effective) -> dict[str, Any]:
    """Return all settings of a model as JSON values, with its price from any source."""
    values = shown_fields(model.settings, [name for name in model.origins if name not in _HIDDEN])
    return values if model.price is None else {**values, "price": price_view(model.price)}


def _shown(model: Effective, overridden: Collection[str]) -> dict[str, Any]:
    fields = {
        name: {"value": value, "from": OVERRIDE if name in overridden else model.origins[name]}
        for name, value in effective_values(model).items()
    }
    return {"id": model.settings.id, "source": model.entry.source if model.entry else None, "fields": fields}


def _value(value: Any) -> Any:
    if isinstance(value, BaseModel):
        shown = {name: _value(getattr(value, name)) for name in type(value).model_fields}
        return {name: item for name, item in shown.items() if item not in (None, [])}
    if isinstance(value, tuple):
        return [_value(item) for item in value]
    return float(value) if isinstance(value, Decimal) else value


def _lines(model: Mapping[str, Any]) -> Iterator[str]:
    yield model["id"]
    for name, field in model["fields"].items():
        if field["from"] != "default" or field["value"] not in (None, [], {}):
            is_price = name == "price" and field["value"]
            text, *more = price_lines(field["value"]) if is_price else [_text(field["value"])]
            yield f"  {name:<15} {text:<60} {field['from']}"
            yield from (f"  {'':<15} {line}" for line in more)
    if model["source"] is not None:
        yield f"  {'source':<15} {model['source']}"


def _text(value: Any) -> str:
    if isinstance(value, Mapping) and all(isinstance(item, Mapping) for item in value.values()) and len(value) > 1:
        return "by effort: " + ", ".join(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items()) or "nothing"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    return "none" if value is None else str(value)
