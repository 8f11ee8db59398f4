"""The section `routing`: which model a name stands for."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from proxy.config.base import Integer, Number, Section, is_json
from proxy.core.types import Mode

_NOT_SETTABLE = ("messages", "model", "router", "stream")


def _parameters(values: dict[str, Any]) -> dict[str, Any]:
    """Request parameters that a scenario may set: JSON values, and none that would change what the call is."""
    for name, value in values.items():
        if name in _NOT_SETTABLE:
            raise ValueError(f"must not set `{name}`; it sets parameters such as `temperature`")
        if not is_json(value):
            raise ValueError(f"has a value under `{name}` that JSON cannot express")
    return values


class ScenarioItem(Section):
    """One line of a scenario: a model's name alone, or with a priority and parameters."""

    model: str = Field(min_length=1, description="`provider/model` or an alias of one.")
    priority: Integer = Field(default=0, description="Lower numbers come first; equal ones keep the order of the list.")
    set: Annotated[dict[str, Any], AfterValidator(_parameters)] = Field(
        default={}, description="Request parameters that this entry sets, such as `temperature`."
    )

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"model": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A name stands for an entry with nothing else."""
        described = handler.resolve_ref_schema(handler(schema))
        return {"anyOf": [{"type": "string"}, dict(described)]}


class TierSettings(Section):
    """Explicit tiers, each an ordered list of models."""

    low: tuple[str, ...] | None = Field(
        default=None, description="The low tier in its order; absent: derived from `models`."
    )
    medium: tuple[str, ...] | None = Field(
        default=None, description="The medium tier in its order; absent: derived from `models`."
    )
    high: tuple[str, ...] | None = Field(
        default=None, description="The high tier in its order; absent: derived from `models`."
    )


class ClassifierSettings(Section):
    """What reads a prompt for `auto`."""

    at: ClassVar[str | None] = "routing.classifier"

    kind: Literal["rules", "model", "llm"] = Field(default="rules", description="How prompts are classified.")


class WeightSettings(Section):
    """Weights of a model's score; each replaces that of the mode."""

    quality: Number | None = Field(default=None, ge=0, description="How much quality counts.")
    cost: Number | None = Field(default=None, ge=0, description="How much a low cost counts.")
    latency: Number | None = Field(default=None, ge=0, description="How much a low latency counts.")
    specialty: Number | None = Field(default=None, ge=0, description="How much a fitting specialty counts.")


Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class TierThinkingSettings(Section):
    """The `reasoning_effort` of calls to a tier that name none, for models of which it is known how to ask."""

    low: Effort | None = Field(default=None, description="For `tier/low`, such as `none`.")
    medium: Effort | None = Field(default=None, description="For `tier/medium`.")
    high: Effort | None = Field(default=None, description="For `tier/high`, such as `high`.")


class RoutingSettings(Section):
    """What names stand for."""

    at: ClassVar[str | None] = "routing"

    default: str = Field(
        default="reject", min_length=1, description="The route of a name that nothing matches, or `reject`."
    )
    mode: Mode = Field(default="balanced", description="The mode of `auto`.")
    aliases: dict[str, str] = Field(default={}, description="Other names for models, aliases or routes.")
    tiers: TierSettings = Field(
        default=TierSettings(), description="Explicit tiers; absent ones come from the models' `tier`."
    )
    scenarios: dict[str, tuple[ScenarioItem, ...]] = Field(
        default={}, description="Named lists of models in order of priority."
    )
    classifier: ClassifierSettings = Field(default=ClassifierSettings(), description="What reads a prompt for `auto`.")
    weights: WeightSettings = Field(default=WeightSettings(), description="Overrides of the mode's score weights.")
    content_fallback: tuple[str, ...] = Field(
        default=(), description="Scenarios in which a refusal of content goes to the next model."
    )
    thinking: TierThinkingSettings = Field(
        default=TierThinkingSettings(), description="How much a tier's models think where the client does not say."
    )
