"""`response_format`, and the tool that stands for it where a model has no structured output.

The model must call the tool, and its arguments become the content of the answer.
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
    """What the client asks of the answer's form; `schema` None is any object."""

    schema: Schema | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Structure:
    """How the answer gets its form: `format` is native, `tool` the forced one.

    `wrapped`: the schema's root is no plain object, so that the tool's arguments hold the answer in one member. `lost`:
    the schema's keywords that could not be expressed. `renaming`: the names of members that were replaced in it.
    """

    format: dict[str, Any] | None = None
    tool: dict[str, Any] | None = None
    wrapped: bool = False
    lost: tuple[str, ...] = ()
    renaming: Renaming | None = None

    @property
    def tool_name(self) -> str | None:
        """The name of the tool whose arguments are the content."""
        return None if self.tool is None else str(self.tool["name"])


def asked_form(body: Mapping[str, Any]) -> AskedForm | None:
    """Read `response_format`; None if the answer is free text. Raises `InvalidRequest` on an unknown type."""
    given = body.get("response_format") or {}
    kind = given.get("type", "text") if isinstance(given, dict) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return AskedForm()
    if kind != "json_schema":
        message = "`response_format.type` must be text, json_object or json_schema."
        raise InvalidRequest(message, param="response_format")
    form = given.get("json_schema")
    form = form if isinstance(form, dict) else {}
    schema, description = form.get("schema"), form.get("description")
    return AskedForm(schema if isinstance(schema, dict) else None, description if isinstance(description, str) else "")


def is_forced(body: Mapping[str, Any]) -> bool:
    """Whether the client wants one of its own tools to be called in any case."""
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
    """The tool that is the answer. `parameters` is the member of a tool that holds its schema.

    A schema that is no plain object is written in the language `part`, as the one member of an object.
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
    """A name for the answer's tool that no tool of the client has."""
    names = {name for name, _ in functions_of(body)}
    name = ANSWER_TOOL
    while name in names:
        name += "_"
    return name


def is_object(schema: Schema) -> bool:
    """Whether a schema's root is an object without alternatives, so that it can be a tool's."""
    alternatives = schema.keys() & {"anyOf", "oneOf", "allOf", "$ref", "$dynamicRef", "$recursiveRef"}
    return not alternatives and (schema.get("type") == "object" or "properties" in schema)


def wrapped(schema: Schema) -> Schema:
    """An object around an expressed schema, whose definitions move up."""
    inner = {name: value for name, value in schema.items() if name != "$defs"}
    definitions = {"$defs": schema["$defs"]} if "$defs" in schema else {}
    return {"type": "object", "properties": {WRAPPED: inner}, "required": [WRAPPED], **definitions}


def unwrapped(text: str) -> str:
    """The answer out of its wrapping; an answer that was cut off is given as it is."""
    value = object_of(text)
    return compact_nulled(value[WRAPPED]).decode() if value is not None and WRAPPED in value else text
