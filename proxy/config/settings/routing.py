"""The section `routing`: how model names are resolved to targets."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from proxy.config.settings.base import Integer, Number, Section, is_json
from proxy.config.settings.units import PositiveDuration
from proxy.core.model import Mode

_NOT_SETTABLE = ("messages", "model", "router", "stream")


def _parameters(values: dict[str, Any]) -> dict[str, Any]:
    """Check the request parameters that a scenario sets: JSON values, and none that changes the kind of call."""
    for name, value in values.items():
        if name in _NOT_SETTABLE:
            raise ValueError(f"must not set `{name}`; remove it and set parameters such as `temperature`")
        if not is_json(value):
            raise ValueError(f"has a value under `{name}` that JSON cannot represent")
    return values


class ScenarioItem(Section):
    """One entry of a scenario: a model name, optionally with a priority and parameters."""

    model: str = Field(min_length=1, description="A `provider/model`, a tier such as `tier/low`, or an alias of one.")
    priority: Integer = Field(
        default=0, description="Entries with lower numbers come first; equal ones keep the order of the list."
    )
    set: Annotated[dict[str, Any], AfterValidator(_parameters)] = Field(
        default={}, description="Request parameters that this entry sets, such as `temperature`."
    )

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"model": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Accept a text as an entry with only a model name."""
        described = handler.resolve_ref_schema(handler(schema))
        return {"anyOf": [{"type": "string"}, dict(described)]}


class TierSettings(Section):
    """Explicit tiers, each as an ordered list of models."""

    low: tuple[str, ...] | None = Field(
        default=None, description="The models of the low tier, in order; absent: derived from `models`."
    )
    medium: tuple[str, ...] | None = Field(
        default=None, description="The models of the medium tier, in order; absent: derived from `models`."
    )
    high: tuple[str, ...] | None = Field(
        default=None, description="The models of the high tier, in order; absent: derived from `models`."
    )


class ClassifierSettings(Section):
    """The prompt classifier of `auto`."""

    at: ClassVar[str | None] = "routing.classifier"

    kind: Literal["rules", "model", "llm"] = Field(default="rules", description="How prompts are classified.")
    model: str | None = Field(
        default=None, min_length=1, description="With `llm`: the model, tier or scenario that classifies prompts."
    )
    deadline: PositiveDuration = Field(
        default=1.0, description="With `llm`: how long a call waits for the profile of its prompt."
    )
    budget: Number | None = Field(
        default=1, ge=0, description="With `llm`: the most that it may cost per day in USD; `null`: no limit."
    )
    cache: Integer = Field(
        default=10_000, ge=0, le=1_000_000, description="With `llm`: how many profiles a process remembers."
    )


class WeightSettings(Section):
    """Weights in a model's score; each overrides the mode's weight."""

    quality: Number | None = Field(default=None, ge=0, description="The weight of quality.")
    cost: Number | None = Field(default=None, ge=0, description="The weight of low cost.")
    latency: Number | None = Field(default=None, ge=0, description="The weight of low latency.")
    specialty: Number | None = Field(default=None, ge=0, description="The weight of a matching specialty.")
    capability: Number | None = Field(default=None, ge=0, description="The weight of declared capabilities.")
    preference: Number | None = Field(default=None, ge=0, description="The weight of the client's preference.")
    affinity: Number | None = Field(
        default=None, ge=0, description="The weight of the model whose prompt cache holds the conversation."
    )


class CostSettings(Section):
    """The share of `auto` that strong models get; a number alone is the share of calls."""

    share: Number = Field(ge=0, le=1, description="The share, 0 to 1.")
    of: Literal["calls", "spend"] = Field(
        default="calls", description="What is shared: calls, or the money that strong models alone would cost."
    )

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: Any) -> Any:
        return value if isinstance(value, dict) or value is None else {"share": value}

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Accept a number as the share of calls."""
        described = handler.resolve_ref_schema(handler(schema))
        return {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, dict(described)]}


TaskName = Literal["code", "writing", "analysis", "translation", "math", "extraction", "chat"]
Nudge = Annotated[Number, Field(ge=-1, le=1)]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class TierThinkingSettings(Section):
    """The default `reasoning_effort` of calls to a tier, for models whose `thinking` settings define it."""

    low: Effort | None = Field(default=None, description="The default for `tier/low`, such as `none`.")
    medium: Effort | None = Field(default=None, description="The default for `tier/medium`.")
    high: Effort | None = Field(default=None, description="The default for `tier/high`, such as `high`.")


class RoutingSettings(Section):
    """How model names are resolved to targets."""

    at: ClassVar[str | None] = "routing"

    default: str = Field(default="reject", min_length=1, description="The route for unknown names, or `reject`.")
    mode: Mode = Field(default="balanced", description="The default mode of `auto`.")
    aliases: dict[str, str] = Field(default={}, description="Alternative names for models, routes or other aliases.")
    tiers: TierSettings = Field(
        default=TierSettings.model_construct(),
        description="Explicit tiers; absent ones are derived from the models' `tier`.",
    )
    scenarios: dict[str, tuple[ScenarioItem, ...]] = Field(
        default={}, description="Named lists of models, in order of priority."
    )
    classifier: ClassifierSettings = Field(
        default=ClassifierSettings.model_construct(), description="The prompt classifier of `auto`."
    )
    weights: WeightSettings = Field(
        default=WeightSettings.model_construct(),
        description="Weights in a model's score; each overrides the mode's weight.",
    )
    quality: Number | None = Field(
        default=None, gt=0, lt=1, description="The least predicted success of the model that `auto` chooses."
    )
    cost: CostSettings | None = Field(
        default=None, description="The share of `auto` that strong models get; absent: as the prompts need."
    )
    nudges: dict[TaskName, dict[str, Nudge]] = Field(
        default={}, description="Terms added to the scores of models or providers, by task."
    )
    content_fallback: tuple[str, ...] = Field(
        default=(), description="Scenarios in which a call rejected by a content filter falls back to the next model."
    )
    thinking: TierThinkingSettings = Field(
        default=TierThinkingSettings.model_construct(),
        description="The default `reasoning_effort` of calls to each tier.",
    )
