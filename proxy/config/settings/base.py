"""The base class of all sections of the file: strict keys, immutable, no values in error messages."""

import math
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from proxy.config.settings.features import NOT_YET
from proxy.config.settings.units import count, share


class Section(BaseModel):
    """One mapping of the file. `at` is its path in `setting_names`, needed where `NOT_YET` lists its settings."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=False, defer_build=True
    )

    at: ClassVar[str | None] = None

    @field_validator("*", mode="after")
    @classmethod
    def _available(cls, value: Any, info: ValidationInfo) -> Any:
        """Reject a value other than the default while the feature is not implemented."""
        name = info.field_name or ""
        row = None if cls.at is None else NOT_YET.get(f"{cls.at}.{name}".lstrip("."))
        if row is None:
            return value
        default = cls.model_fields[name].get_default(call_default_factory=True)
        if value == default or value in row.allowed:
            return value
        shown = f" or leave it at `{_shown(default)}`" if isinstance(default, str | int | float) else ""
        raise ValueError(f"{row.what} is not supported by this version; remove it{shown}")


def _shown(default: str | int | float) -> str:
    """A default in the notation of the file."""
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)


def is_json(value: Any) -> bool:
    """Whether JSON can represent the value."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_json(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(is_json(item) for item in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | bool | int)


def _integer(value: Any) -> Any:
    """Reject booleans, and read suffixes such as `128k`."""
    return count(_not_bool(value))


def _number(value: Any) -> Any:
    """Reject booleans, and read percentages such as `20%`."""
    return share(_not_bool(value))


def _not_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


Integer = Annotated[int, BeforeValidator(_integer)]
Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
