"""The section `agents`: presets of instructions, model, tools and parameters that clients name as a model."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from proxy.config.settings.base import Section, is_json

AgentId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$", max_length=64)]

MAX_INSTRUCTIONS = 65_536  # characters
_NOT_PARAMETERS = {
    "messages": "put its text into `instructions`",
    "model": "set it beside `params`",
    "prompt": "put its text into `instructions`",
    "router": "it is an option of a request",
    "stream": "a request decides it",
    "stream_options": "a request decides it",
    "tools": "set it beside `params`",
}


def _params(values: dict[str, Any]) -> dict[str, Any]:
    """Check parameters of a chat completion: JSON values, and none that has another place."""
    for name, value in values.items():
        if name in _NOT_PARAMETERS:
            raise ValueError(f"must not set `{name}`; {_NOT_PARAMETERS[name]}")
        if not is_json(value):
            raise ValueError(f"has a value under `{name}` that JSON cannot represent")
    return values


def _tools(tools: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
    """Check tools: objects with a `type`, functions with a name."""
    for index, tool in enumerate(tools):
        if not isinstance(tool.get("type"), str) or not tool["type"] or not is_json(tool):
            raise ValueError(f"has an item {index} that is not a tool: an object with `type`, such as `function`")
        function = tool.get("function", tool)
        if tool["type"] == "function" and not (isinstance(function, dict) and isinstance(function.get("name"), str)):
            raise ValueError(f"has an item {index} without the `name` of its function")
    return tools


class AgentSettings(Section):
    """A preset that clients name as `agent/<id>`."""

    model: str = Field(min_length=1, max_length=300, description="The model, alias or route that answers.")
    instructions: str = Field(
        default="",
        max_length=MAX_INSTRUCTIONS,
        description="The text before the instructions of a request; `{{name}}` stands for a variable.",
    )
    tools: Annotated[tuple[dict[str, Any], ...], AfterValidator(_tools)] = Field(
        default=(), description="The tools, as in a chat completion, of requests that have none."
    )
    params: Annotated[dict[str, Any], AfterValidator(_params)] = Field(
        default={}, description="Parameters of a chat completion, such as `temperature`, that a request does not set."
    )
    variables: dict[VariableName, str | None] = Field(
        default={}, description="The variables with their defaults; `null`: the request must have a value."
    )
    description: str = Field(default="", max_length=1000, description="A text for people.")
