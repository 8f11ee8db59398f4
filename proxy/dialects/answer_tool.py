"""`response_format`, and its emulation by a tool for models without structured output.

The model is forced to call the tool, whose arguments become the content of the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.core.json_text import compact_nulled, object_of
from proxy.dialects.names import Renaming, functions_of
from proxy.dialects.schema.forms import Forms
from proxy.dialects.schema.language import Language, Schema

ANSWER_TOOL = "answer_in_json"
WRAPPED = "answer"  # the one member of a wrapped answer
_OPEN: Schema = {"type": "object", "additionalProperties": True}
_PURPOSE = "Give the answer. Its arguments are the whole answer, as JSON, to what was asked."


@dataclass(frozen=True, slots=True)
class AskedForm:
    """The requested format of the answer; `schema` is None if any object is valid."""

    schema: Schema | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Structure:
    """How structured output is requested: by the native `format`, or by the forced `tool`.

    `wrapped`: the schema's root is not a plain object, so the tool's arguments contain the answer in one member.
    `lost`: keywords of the schema that could not be expressed. `renaming`: its replaced member names.
    """

    format: dict[str, Any] | None = None
    tool: dict[str, Any] | None = None
    wrapped: bool = False
    lost: tuple[str, ...] = ()
    renaming: Renaming | None = None

    @property
    def tool_name(self) -> str | None:
        """The name of the tool whose arguments are the content, or `None`."""
        return None if self.tool is None else str(self.tool["name"])


def asked_form(body: Mapping[str, Any]) -> AskedForm | None:
    """Read `response_format`; None if the answer is free text. Raises `InvalidRequest` for an unknown type."""
    requested = body.get("response_format") or {}
    kind = requested.get("type", "text") if isinstance(requested, dict) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return AskedForm()
    if kind != "json_schema":
        message = "`response_format.type` must be text, json_object or json_schema."
        raise InvalidRequest(message, param="response_format")
    form = requested.get("json_schema")
    form = form if isinstance(form, dict) else {}
    schema, description = form.get("schema"), form.get("description")
    return AskedForm(schema if isinstance(schema, dict) else None, description if isinstance(description, str) else "")


def is_forced(body: Mapping[str, Any]) -> bool:
    """Whether the client forces a call of one of its tools."""
    if not (body.get("tools") or body.get("functions")):
        return False
    choice = body.get("tool_choice") if body.get("tools") else body.get("function_call")
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools")
        choice = (allowed if isinstance(allowed, dict) else choice).get("mode")
    if isinstance(choice, dict):
        return choice.get("type") not in ("auto", "none")
    return choice in ("required", "any")


def answer_structure(
    body: Mapping[str, Any], asked: AskedForm, forms: Forms, *, parameters: str, root: Language, part: Language
) -> Structure:
    """Return the tool that emulates structured output. `parameters` is the member of a tool that contains its schema.

    A schema that is not a plain object is written in the language `part`, as the only member of an object.
    """
    schema = _OPEN if asked.schema is None else asked.schema
    whole = is_object(schema)
    form = forms.of(schema, root if whole else part)
    tool = {
        "name": answer_name(body),
        "description": f"{_PURPOSE} {asked.description}" if asked.description else _PURPOSE,
        parameters: form.schema if whole else wrapped(form.schema),
    }
    return Structure(tool=tool, wrapped=not whole, lost=form.lost, renaming=form.renaming)


def answer_name(body: Mapping[str, Any]) -> str:
    """Return a name for the answer's tool that differs from all of the client's tools."""
    names = {name for name, _ in functions_of(body)}
    name = ANSWER_TOOL
    while name in names:
        name += "_"
    return name


def is_object(schema: Schema) -> bool:
    """Whether a schema's root is an object without alternatives, as tools require."""
    alternatives = schema.keys() & {"anyOf", "oneOf", "allOf", "$ref", "$dynamicRef", "$recursiveRef"}
    return not alternatives and (schema.get("type") == "object" or "properties" in schema)


def wrapped(schema: Schema) -> Schema:
    """Return an object schema with `schema` as its only member; definitions move to the root."""
    inner = {name: value for name, value in schema.items() if name != "$defs"}
    definitions = {"$defs": schema["$defs"]} if "$defs" in schema else {}
    return {"type": "object", "properties": {WRAPPED: inner}, "required": [WRAPPED], **definitions}


def unwrapped(text: str) -> str:
    """Return the answer without its wrapper; a truncated answer is returned unchanged."""
    value = object_of(text)
    return compact_nulled(value[WRAPPED]).decode() if value is not None and WRAPPED in value else text
