"""Validates plain data to `Settings` and converts pydantic's errors to messages without input values."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from proxy.config.errors import suggestion
from proxy.config.settings.presets import PRESETS
from proxy.config.settings.schema import Settings
from proxy.config.yaml.read import Path
from proxy.config.yaml.shape import Shape


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem with the value at `path`; `shown_as` replaces a path that must not be shown."""

    path: Path
    message: str
    shown_as: Path | None = None

    @property
    def shown_path(self) -> Path:
        """The path to show."""
        return self.path if self.shown_as is None else self.shown_as


_NAMES = "must start with a letter or digit and contain only letters, digits, `.`, `_` and `-`"
_PATTERNS = {
    "store": "must be `none`, `sqlite`, `sqlite:///path` or `postgresql://...`",
    "state": "must be `memory` or `redis://...`",
}
_SENTENCES = {
    "string_type": "must be a string",
    "string_too_long": "is too long",
    "bool_type": "must be `true` or `false`",
    "bool_parsing": "must be `true` or `false`",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "decimal_type": "must be an amount in USD such as `0.15`",
    "decimal_parsing": "must be an amount in USD such as `0.15`",
    "dict_type": "must be a mapping of names to values",
    "model_type": "must be a mapping of settings",
    "model_attributes_type": "must be a mapping of settings",
    "tuple_type": "must be a list",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
}
_BOUNDS = {
    "greater_than": ("gt", "must be more than"),
    "greater_than_equal": ("ge", "must be at least"),
    "less_than": ("lt", "must be less than"),
    "less_than_equal": ("le", "must be at most"),
}


def validate(data: Mapping[str, Any], shape: Shape) -> tuple[Settings | None, list[Finding]]:
    """Build the settings, and report every problem."""
    errors: list[Any] = []
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(data)
    except ValidationError as exc:
        errors = exc.errors(include_url=False)
    return settings, list(_findings(errors, data, shape))


def _findings(errors: Sequence[Any], data: Mapping[str, Any], shape: Shape) -> Iterator[Finding]:
    parents = {error["loc"][:-1] for error in errors}
    for error in errors:
        *outer, last = error["loc"] or ("",)
        if error["type"] == "too_short" and error["loc"] in parents:
            continue  # invalid items are not counted, and each has its own error
        if error["type"] == "extra_forbidden":
            path, section = _place(outer, data, shape)
            name = _shown(str(last))
            hint = suggestion(str(last), section.fields) or _known(list(section.fields))
            yield Finding((*path, last), f"unknown setting `{name}`{hint}", (*path, name))
        elif error["type"] == "missing":
            path, _ = _place(outer, data, shape)
            yield Finding((*path, last), "is missing")
        else:
            path, _ = _place((*outer, last), data, shape)
            yield Finding(path, _sentence(error, path, data))


def _place(loc: Iterable[str | int], data: Any, shape: Shape) -> tuple[Path, Shape]:
    """The part of pydantic's location that exists in the file; the end may be implied by a short form."""
    path: Path = ()
    for step in loc:
        inside: Any = data if isinstance(data, Mapping) else dict(enumerate(data)) if isinstance(data, list) else {}
        if step in inside:
            path, data, shape = (*path, step), inside[step], shape.under(step)
    return path, shape


def _sentence(error: Any, path: Path, data: Mapping[str, Any]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "value_error":
        message = str(context["error"])
        return message + _from_preset(path, data, message)
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        return f"{words} {context[bound]}"
    if kind == "literal_error":
        words = str(context["expected"]).replace("'", "`")
        return f"must be {words}{_nearest(path, data, words)}"
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(str(path[-1]) if path else "", _NAMES)
    return _SENTENCES.get(kind, f"is not valid ({kind})")


def _from_preset(path: Path, data: Mapping[str, Any], message: str) -> str:
    """A note if a setting in the message is not in the file but comes from its preset."""
    section = data.get("resilience")
    name = section.get("preset") if path[:1] == ("resilience",) and isinstance(section, Mapping) else None
    preset: Any = PRESETS.get(name) if isinstance(name, str) else None
    for step in path[1:]:
        section, preset = (each.get(step) if isinstance(each, Mapping) else None for each in (section, preset))
    if not isinstance(section, Mapping) or not isinstance(preset, Mapping):
        return ""
    named = [word for word in message.split("`")[1::2] if word in preset and word not in section]
    return f". `{named[0]}` comes from the preset `{name}`; set it in the file too" if named else ""


def _nearest(path: Path, data: Any, words: str) -> str:
    """Suggest the allowed word nearest to the written one, without repeating that."""
    for step in path:
        data = data[step]
    return suggestion(data, words.split("`")[1::2]) if isinstance(data, str) else ""


def _known(names: list[str]) -> str:
    return f"; known here: {', '.join(f'`{name}`' for name in names)}" if 0 < len(names) <= 8 else ""


def _shown(name: str) -> str:
    """A key that is safe to show; a long or unusual one could be a misplaced value."""
    return name if len(name) <= 30 and name.replace("_", "").replace("-", "").isalnum() else "…"
