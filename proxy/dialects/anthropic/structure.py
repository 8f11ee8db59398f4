"""`response_format` for Anthropic: structured output where the model has it, else a tool that is the answer.

Structured output is `output_config.format` (Anthropic's documentation, "Structured outputs"; the form that replaced
the beta's `output_format`, and needs no beta header). A model has it where the catalogue lists `json_schema`. Where it
does not, where the schema has no form in its language, and for `json_object`, which has no schema, the model must call
one tool whose arguments are the content.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.core.types import Deployment
from proxy.dialects.answer_tool import Structure, answer_name, asked_form, is_forced, is_object, wrapped
from proxy.dialects.schema.forms import Forms
from proxy.dialects.schema.language import ANTHROPIC_PART, ANTHROPIC_STRICT, ANTHROPIC_TOOL, NotExpressible, Schema

_OPEN = {"type": "object", "additionalProperties": True}
_PURPOSE = "Give the answer. Its arguments are the whole answer, as JSON, to what was asked."


def structure_of(body: Mapping[str, Any], deployment: Deployment, forms: Forms) -> Structure | None:
    """Read `response_format`; None if the answer is free text. Raises `InvalidRequest` on an unknown type.

    Where the client forces a tool of its own, there is no text to be formatted, and nothing is added.
    """
    asked = asked_form(body)
    if asked is None or is_forced(body):
        return None
    if asked.schema is not None and "json_schema" in (deployment.capabilities or ()):
        try:
            form = forms.of(asked.schema, ANTHROPIC_STRICT)
        except NotExpressible:
            pass  # the tool's schema may say more
        else:
            native = {"type": "json_schema", "schema": form.schema}
            return Structure(format=native, lost=form.lost, renaming=form.renaming)
    schema: Schema = _OPEN if asked.schema is None else asked.schema
    whole = is_object(schema)
    form = forms.of(schema, ANTHROPIC_TOOL if whole else ANTHROPIC_PART)
    tool = {
        "name": answer_name(body),
        "description": f"{_PURPOSE} {asked.description}" if asked.description else _PURPOSE,
        "input_schema": form.schema if whole else wrapped(form.schema),
    }
    return Structure(tool=tool, wrapped=not whole, lost=form.lost, renaming=form.renaming)
