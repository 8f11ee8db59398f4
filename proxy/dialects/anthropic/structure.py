"""`response_format` for Anthropic: structured output where the model has it, else a tool that is the answer.

Structured output is `output_config.format` (Anthropic's documentation, "Structured outputs"; the form that replaced
the beta's `output_format`, and needs no beta header). A model has it where the catalogue lists `json_schema`. Where it
does not, and for `json_object`, which has no schema, the model is made to call one tool whose arguments are the
content. Where the client forces a tool of its own, there is no text to be formatted, and nothing is added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.core.types import Deployment
from proxy.dialects.anthropic.schema import NotExpressible, object_schema, strict_schema

ANSWER_TOOL = "answer_in_json"
WRAPPED = "answer"  # the one member of a wrapped answer
_OPEN = {"type": "object", "additionalProperties": True}


@dataclass(frozen=True, slots=True)
class Structure:
    """How the answer gets its form: `format` is native, `tool` the forced one.

    `wrapped`: the schema's root is no object, so that the tool's arguments hold the answer in one member.
    """

    format: dict[str, Any] | None = None
    tool: dict[str, Any] | None = None
    wrapped: bool = False

    @property
    def tool_name(self) -> str | None:
        """The name of the tool whose arguments are the content."""
        return None if self.tool is None else str(self.tool["name"])


def structure_of(body: Mapping[str, Any], deployment: Deployment) -> Structure | None:
    """Read `response_format`; None if the answer is free text. Raises `InvalidRequest` on an unknown type."""
    wanted = body.get("response_format") or {}
    kind = wanted.get("type", "text")
    if kind == "text" or _is_forced(body):
        return None
    if kind not in ("json_object", "json_schema"):
        raise InvalidRequest(
            "`response_format.type` must be text, json_object or json_schema.", param="response_format"
        )
    given = wanted.get("json_schema")
    given = given if kind == "json_schema" and isinstance(given, dict) else {}
    schema = given.get("schema")
    if isinstance(schema, dict) and "json_schema" in (deployment.capabilities or ()):
        try:
            return Structure(format={"type": "json_schema", "schema": strict_schema(schema)})
        except NotExpressible:
            pass  # the tool's schema may say more
    return _by_tool(body, schema if isinstance(schema, dict) else _OPEN, given.get("description"))


def _by_tool(body: Mapping[str, Any], schema: dict[str, Any], description: Any) -> Structure:
    is_object = schema.get("type") == "object" or "properties" in schema
    purpose = "Give the answer. Its arguments are the whole answer, as JSON, to what was asked."
    tool = {
        "name": _free_name(body),
        "description": f"{purpose} {description}" if isinstance(description, str) else purpose,
        "input_schema": object_schema(schema) if is_object else _wrap(schema),
    }
    return Structure(tool=tool, wrapped=not is_object)


def _wrap(schema: dict[str, Any]) -> dict[str, Any]:
    """An object around a schema; the definitions move up, so that references still lead to them."""
    shelves: dict[str, Any] = {name: schema[name] for name in ("$defs", "definitions") if name in schema}
    inner = {name: value for name, value in schema.items() if name not in shelves}
    return {"type": "object", "properties": {WRAPPED: inner}, "required": [WRAPPED], **shelves}


def _is_forced(body: Mapping[str, Any]) -> bool:
    """Whether the client wants one of its own tools to be called, come what may."""
    if not (body.get("tools") or body.get("functions")):
        return False
    choice = body.get("tool_choice") if body.get("tools") else body.get("function_call")
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools")
        choice = (allowed if isinstance(allowed, dict) else choice).get("mode")
    return isinstance(choice, dict) or choice in ("required", "any")


def _free_name(body: Mapping[str, Any]) -> str:
    given = [*(body.get("tools") or []), *(body.get("functions") or [])]
    names = set()
    for tool in given:
        function = tool.get("function") if isinstance(tool.get("function"), dict) else tool
        names.add(str(function.get("name")))
    name = ANSWER_TOOL
    while name in names:
        name += "_"
    return name
