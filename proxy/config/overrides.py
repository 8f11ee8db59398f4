"""Settings of models that the admin API changed, laid over those of the file."""

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.config.check.validate import validate
from proxy.config.compile.effective import effective_models
from proxy.config.compile.view import OVERRIDE, effective_values, shown_fields
from proxy.config.errors import suggestion
from proxy.config.settings.describe import shape_of
from proxy.config.settings.models import ModelSettings
from proxy.config.settings.schema import Settings

Overrides = Mapping[str, Mapping[str, Any]]  # model id -> the overridden fields, as the API received them
FIELDS = tuple(name for name in ModelSettings.model_fields if name != "id")


class OverrideError(ValueError):
    """An override is invalid; `field` is a dotted path."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def check_override(settings: Settings, id: str, fields: Mapping[str, Any]) -> None:
    """Check the override of one model. Raises `OverrideError` with the first problem."""
    unknown = [name for name in fields if name not in FIELDS]
    if unknown:
        raise OverrideError(unknown[0], f"there is no such field; the fields are {', '.join(f'`{n}`' for n in FIELDS)}")
    model = _read(id, fields)
    provider = model.id.partition("/")[0]
    if provider not in settings.providers:
        near = suggestion(provider, settings.providers)
        raise OverrideError("id", f"there is no provider `{provider}` in the configuration{near}")


def overlay(settings: Settings, overrides: Overrides) -> Settings:
    """Return the settings with all overrides; invalid ones, and those without a provider, are ignored."""
    if not overrides:
        return settings
    read = dict(_readable(settings, overrides))
    models = [_laid_over(model, read.pop(model.id, None)) for model in settings.models]
    return settings.model_copy(update={"models": (*models, *read.values())})


def model_rows(file: Settings, overrides: Overrides) -> list[dict[str, Any]]:
    """Return all models of the file and of `overrides`: effective values, origins, and both sources side by side."""
    own = {model.id: model for model in file.models}
    used = dict(_readable(file, overrides))
    names = overridden_fields(file, overrides)
    rows = []
    for model in effective_models(overlay(file, overrides)):
        id = model.settings.id
        origins = {name: OVERRIDE if name in names.get(id, ()) else model.origins[name] for name in FIELDS}
        rows.append(
            {
                "id": id,
                **effective_values(model),
                "origins": origins,
                "file": _set_fields(own[id]) if id in own else None,
                "override": _set_fields(used[id]) if id in used else None,
            }
        )
    return rows


def overridden_fields(settings: Settings, overrides: Overrides) -> dict[str, set[str]]:
    """Return the fields of each model that overrides change."""
    return {id: model.model_fields_set - {"id"} for id, model in _readable(settings, overrides)}


def _readable(settings: Settings, overrides: Overrides) -> Iterator[tuple[str, ModelSettings]]:
    for id, fields in sorted(overrides.items()):
        try:
            check_override(settings, id, fields)
        except OverrideError:
            continue
        yield id, _read(id, fields)


def _read(id: str, fields: Mapping[str, Any]) -> ModelSettings:
    settings, findings = validate({"models": [{**fields, "id": id}]}, shape_of(Settings))
    if findings or settings is None:
        raise OverrideError(".".join(map(str, findings[0].shown_path[2:])) or "body", findings[0].message)
    return settings.models[0]


def _laid_over(model: ModelSettings, override: ModelSettings | None) -> ModelSettings:
    if override is None:
        return model
    return model.model_copy(update={name: getattr(override, name) for name in override.model_fields_set})


def _set_fields(model: ModelSettings) -> dict[str, Any]:
    return shown_fields(model, [name for name in FIELDS if name in model.model_fields_set])
