"""What every section of the file has in common: strict keys, no way to change it, no values in its errors."""

import math
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from proxy.config.features import NOT_YET
from proxy.config.units import count, share


class Section(BaseModel):
    """One mapping of the file. `at` is its place as in `setting_names`, where the table of features names it."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=False)

    at: ClassVar[str | None] = None

    @field_validator("*", mode="after")
    @classmethod
    def _available(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what differs from its default while its feature is not there yet."""
        name = info.field_name or ""
        row = None if cls.at is None else NOT_YET.get(f"{cls.at}.{name}".lstrip("."))
        if row is None:
            return value
        default = cls.model_fields[name].get_default(call_default_factory=True)
        if value == default or value in row.allowed:
            return value
        shown = f" or leave it at `{_shown(default)}`" if isinstance(default, str | int | float) else ""
        raise ValueError(f"{row.what} is not available in this version yet; remove it{shown}")


def _shown(default: str | int | float) -> str:
    """A default as the file would have it."""
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)


def is_json(value: Any) -> bool:
    """Whether JSON can express the value."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_json(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(is_json(item) for item in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | bool | int)


def _integer(value: Any) -> Any:
    """Refuse `true` where a number is meant, and read `128k`."""
    return count(_not_bool(value))


def _number(value: Any) -> Any:
    """Refuse `true` where a number is meant, and read `20%`."""
    return share(_not_bool(value))


def _not_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


Integer = Annotated[int, BeforeValidator(_integer)]
Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
