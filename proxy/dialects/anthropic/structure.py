"""`response_format` for Anthropic: structured output where the model has it, else a tool that is the answer.

Structured output is `output_config.format` (Anthropic's documentation, "Structured outputs"; the form that replaced
the beta's `output_format`, and needs no beta header). A model has it where the catalogue lists `json_schema`. Where it
does not, where the schema has no form in its language, and for `json_object`, which has no schema, the model must call
one tool whose arguments are the content.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.core.model import Deployment
from proxy.dialects.answer_tool import Structure, answer_structure, asked_form, is_forced
from proxy.dialects.schema.forms import Forms
from proxy.dialects.schema.language import ANTHROPIC_PART, ANTHROPIC_STRICT, ANTHROPIC_TOOL, NotExpressible


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
    return answer_structure(body, asked, forms, parameters="input_schema", root=ANTHROPIC_TOOL, part=ANTHROPIC_PART)
