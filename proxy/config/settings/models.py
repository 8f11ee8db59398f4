"""The section `models`: prices, sizes, capabilities and limits of each model."""

import re
from decimal import Decimal
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator

from proxy.catalogue.entry import EFFORTS
from proxy.catalogue.lookup import named, names
from proxy.config.errors import suggestion
from proxy.config.settings.base import Integer, Number, Section, is_json
from proxy.config.settings.keys import LimitSettings
from proxy.config.settings.units import Duration, PositiveDuration
from proxy.core.model import Kind, Tier

Price = Annotated[Decimal, Field(ge=0, le=1_000_000, allow_inf_nan=False)]

_KEPT = ("messages", "model", "stream", "input", "prompt", "file", "router")  # every call needs these


class TimeoutOverrides(Section):
    """Timeouts of a model; absent ones are the provider's."""

    connect: PositiveDuration | None = Field(default=None, description="The time to make a connection.")
    first_token: PositiveDuration | None = Field(default=None, description="The time to the first content of a stream.")
    idle: PositiveDuration | None = Field(default=None, description="The longest gap between two parts of a stream.")
    total: PositiveDuration | None = Field(default=None, description="The time for the whole attempt.")


class RateSettings(Section):
    """Prices in USD per million tokens."""

    input: Price = Field(description="USD per million input tokens.")
    cached_input: Price | None = Field(
        default=None, description="USD per million cached input tokens; absent: the price of `input`."
    )
    cache_write: Price | None = Field(
        default=None, description="USD per million tokens written to the cache; absent: the price of `input`."
    )
    cache_write_1h: Price | None = Field(
        default=None,
        description="USD per million tokens written to a cache that lasts an hour; absent: the price of `cache_write`.",
    )
    output: Price = Field(description="USD per million output tokens.")


class PriceTierSettings(RateSettings):
    """The price of longer prompts."""

    above: Integer = Field(ge=1, description="Applies to all tokens of answers to more input tokens than this.")


class PriceSettings(RateSettings):
    """The price of a model."""

    tiers: tuple[PriceTierSettings, ...] = Field(
        default=(), description="Prices of answers to longer prompts; absent: none."
    )


class ModelSettings(Section):
    """One model of one provider. Absent values come from the catalogue, the price from the price book."""

    at: ClassVar[str | None] = "models[]"

    id: str = Field(description="`provider/model`; the part after the first `/` is sent to the provider unchanged.")
    kind: Kind = Field(default="chat", description="The kind of endpoint that the model serves.")
    enabled: bool = Field(default=True, description="Use the model.")
    tier: Tier | None = Field(default=None, description="The intelligence tier; absent: no tier.")
    price: PriceSettings | None = Field(
        default=None, description="The price; absent: that of the price book, by the provider's address and the id."
    )
    context_window: Integer | None = Field(
        default=None, ge=1, description="The maximum number of tokens of prompt and answer together; absent: unknown."
    )
    max_output: Integer | None = Field(
        default=None, ge=1, description="The maximum number of tokens of an answer; absent: unknown."
    )
    latency: Duration | None = Field(
        default=None, description="The expected time to first content; replaced by measured latency."
    )
    capabilities: tuple[str, ...] | None = Field(
        default=None,
        description="Capabilities such as `tools`, `vision` or `json_schema`; absent: unknown, passes all filters.",
    )
    unsupported: tuple[str, ...] = Field(
        default=(),
        description="OpenAI request parameters that the model rejects; they are dropped. `a+b`: not both together.",
    )
    thinking: dict[str, dict[str, Any]] = Field(
        default={}, description="Request members that enable thinking, for each `reasoning_effort`."
    )
    thinking_off: dict[str, Any] | None = Field(
        default=None, description="Request members that disable thinking; absent: it cannot be disabled."
    )
    specialties: tuple[str, ...] = Field(
        default=(), description="Tasks for which the model is preferred, such as `code` or `writing`."
    )
    like: str | None = Field(
        default=None,
        description="The catalogue model that supplies absent values (`openai/gpt-4o`); absent: by address and id.",
    )
    limits: LimitSettings = Field(
        default=LimitSettings.model_construct(), description="The limits of the model, counted for each key."
    )
    timeouts: TimeoutOverrides = Field(
        default=TimeoutOverrides(), description="Timeouts of the model; they override the provider's."
    )
    quality: Number | None = Field(
        default=None, ge=0, le=1, description="The quality of answers, 0 to 1; absent: derived from the tier."
    )

    @field_validator("id", mode="after")
    @classmethod
    def _id(cls, value: str) -> str:
        provider, _, model = value.partition("/")
        if not provider or not model or re.search(r"[\s\x00-\x1f\x7f]", value) or len(value) > 300:
            raise ValueError("must be `provider/model`, such as `openai/gpt-4o`")
        return value

    @field_validator("like", mode="after")
    @classmethod
    def _like(cls, value: str | None) -> str | None:
        if value is not None and named(value) is None:
            near = suggestion(value, names()) or suggestion(
                value.rpartition("/")[2], [n.partition("/")[2] for n in names()]
            )
            raise ValueError(f"must be a model of the catalogue, such as `openai/gpt-4o`{near}")
        return value

    @field_validator("unsupported", mode="after")
    @classmethod
    def _parameters(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if kept := [name for name in _KEPT if name in value]:
            raise ValueError(f"must not contain `{kept[0]}`, which every call needs; remove it")
        return value

    @field_validator("thinking", mode="after")
    @classmethod
    def _efforts(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for effort in value:
            if effort not in EFFORTS:
                known = ", ".join(f"`{word}`" for word in EFFORTS)
                raise ValueError(f"has an unknown effort; must be one of {known}{suggestion(effort, EFFORTS)}")
        if not is_json(value):
            raise ValueError("has a value that JSON cannot represent")
        return value

    @field_validator("thinking_off", mode="after")
    @classmethod
    def _members(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if not is_json(value):
            raise ValueError("has a value that JSON cannot represent")
        return value
