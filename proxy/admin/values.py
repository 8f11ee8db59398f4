"""Values of admin objects: how they are read from bodies, and how they are written in answers.

Money is in USD as a number, a time is ISO 8601 in UTC.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict

from proxy.core.accounts import Budget, ModelLimits, Period
from proxy.core.model import LimitValues
from proxy.core.money import nano_dollars, usd
from proxy.core.timestamps import seconds_of

MOST_USD = 1_000_000_000.0  # its nano-dollars fit into 64 bits
MOST_MODEL_LIMITS = 50  # of one key, user or team: each call compares its model with all of them
_MOST_COUNT = 10**12
_LONGEST_ID, _LONGEST_PATTERN, _MOST_PATTERNS = 100, 300, 1000
_METADATA_BYTES, _METADATA_LEVELS = 16 * 1024, 10


def visible(text: str) -> bool:
    """Return whether a text has only visible characters, and 1 to 100 of them: the form of all ids."""
    return 0 < len(text) <= _LONGEST_ID and text.isprintable() and not any(map(str.isspace, text))


def _id(value: str) -> str:
    if not visible(value) or value in (".", ".."):
        raise ValueError("must be 1 to 100 visible characters, without white space")
    return value


def _name(value: str) -> str:
    if not 0 < len(value) <= _LONGEST_ID or not value.isprintable() or value != value.strip():
        raise ValueError("must be 1 to 100 visible characters")
    return value


def _patterns(value: list[str]) -> tuple[str, ...]:
    if not value:
        raise ValueError("must not be empty; `null` allows all models")
    if len(value) > _MOST_PATTERNS:
        raise ValueError(f"must have at most {_MOST_PATTERNS} items")
    for pattern in value:
        if not 0 < len(pattern) <= _LONGEST_PATTERN or not pattern.isprintable() or " " in pattern:
            raise ValueError("must be patterns of model names such as `openai/*`")
    return tuple(value)


def _metadata(value: dict[str, Any]) -> dict[str, Any]:
    if not _storable(value, _METADATA_LEVELS):
        raise ValueError(
            f"must be JSON of at most {_METADATA_LEVELS} levels, with finite numbers and without NUL characters"
        )
    if len(msgspec.json.encode(value)) > _METADATA_BYTES:
        raise ValueError("must be at most 16 KiB")
    return value


def _storable(value: Any, levels: int) -> bool:
    """Return whether every database stores a value as it is."""
    if isinstance(value, dict):
        return levels > 0 and all(_storable(key, 1) and _storable(item, levels - 1) for key, item in value.items())
    if isinstance(value, list):
        return levels > 0 and all(_storable(item, levels - 1) for item in value)
    if isinstance(value, str):
        return "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) < 2**63


def _time(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("must be a time in ISO 8601, such as 2027-01-31T00:00:00Z")
    return seconds_of(value)


def _timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):  # unknown, or not the form of a name
        raise ValueError("must be a time zone such as `Europe/Berlin`") from None
    return value


ObjectId = Annotated[str, AfterValidator(_id)]
Name = Annotated[str, AfterValidator(_name)]
Patterns = Annotated[list[str], AfterValidator(_patterns)]
Metadata = Annotated[dict[str, Any], AfterValidator(_metadata)]
Time = Annotated[float, BeforeValidator(_time)]
Count = Annotated[int, Strict(), Field(ge=1, le=_MOST_COUNT)]
Usd = Annotated[float, Field(ge=0, le=MOST_USD, allow_inf_nan=False)]


class Body(BaseModel):
    """A request body: its own fields only, each of the right type."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True, defer_build=True)

    @property
    def named(self) -> dict[str, Any]:
        """The fields that the body names, with their values."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class LimitsBody(Body):
    """Limits of a key, user or team; `null` is unlimited."""

    rpm: Count | None = None
    rpd: Count | None = None
    tpm: Count | None = None
    tpd: Count | None = None
    concurrency: Count | None = None


def _of_models(value: dict[str, LimitsBody | None]) -> dict[str, LimitsBody | None]:
    if value:
        _patterns(list(value))
    return value


ModelLimitsBody = Annotated[dict[str, LimitsBody | None], AfterValidator(_of_models)]


class BudgetBody(Body):
    """A budget of a key, user or team."""

    usd: Usd | None = None
    period: Period = "month"
    hard: bool = True
    timezone: Annotated[str, AfterValidator(_timezone)] = "UTC"


def limits_of(body: LimitsBody | None, before: LimitValues | None = None) -> LimitValues:
    """Return `before` with the limits that the body names; without a body no limits."""
    return LimitValues() if body is None else replace(before or LimitValues(), **body.named)


def model_limits_of(body: Mapping[str, LimitsBody | None] | None, before: ModelLimits | None = None) -> ModelLimits:
    """Return `before` with the limits of the models that the body names; without a body none.

    Limits that are all null are dropped.
    """
    if body is None:
        return {}
    named = {pattern: limits_of(limits, (before or {}).get(pattern)) for pattern, limits in body.items()}
    return {pattern: limits for pattern, limits in {**(before or {}), **named}.items() if limits != LimitValues()}


def budget_of(body: BudgetBody | None, before: Budget | None = None) -> Budget | None:
    """Return `before` with the fields that the body names; without a body no budget.

    Raises `ValueError` without an amount.
    """
    if body is None:
        return None
    fields = body.named
    amount = fields.pop("usd", None)
    if "usd" in body.model_fields_set or before is None:
        if amount is None:
            raise ValueError("must have `usd`; set `budget` to null to remove the budget")
        fields["nusd"] = nano_dollars(amount)
    return Budget(**fields) if before is None else msgspec.structs.replace(before, **fields)


def shown_limits(limits: LimitValues) -> dict[str, Any]:
    """Return limits as an answer has them."""
    return asdict(limits)


def shown_model_limits(limits: ModelLimits) -> dict[str, Any]:
    """Return limits by model as an answer has them."""
    return {pattern: shown_limits(values) for pattern, values in limits.items()}


def shown_budget(budget: Budget | None) -> Mapping[str, Any] | None:
    """Return a budget as an answer has it."""
    if budget is None:
        return None
    return {"usd": usd(budget.nusd), "period": budget.period, "hard": budget.hard, "timezone": budget.timezone}
