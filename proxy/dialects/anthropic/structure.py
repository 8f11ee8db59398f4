"""`response_format` for Anthropic: native structured output if the model supports it, else a forced tool.

Structured output is `output_config.format` (Anthropic's documentation, "Structured outputs"; it replaced the beta's
`output_format` and needs no beta header). A model supports it if the catalogue lists `json_schema`. If it does not,
if the schema cannot be expressed, and for `json_object`, which has no schema, the model is forced to call a tool
whose arguments are the content.
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

    If the client forces one of its tools, the answer has no text, and the format is ignored.
    """
    requested = asked_form(body)
    if requested is None or is_forced(body):
        return None
    if requested.schema is not None and "json_schema" in (deployment.capabilities or ()):
        try:
            form = forms.of(requested.schema, ANTHROPIC_STRICT)
        except NotExpressible:
            pass  # a tool's schema can express more
        else:
            native = {"type": "json_schema", "schema": form.schema}
            return Structure(format=native, lost=form.lost, renaming=form.renaming)
    return answer_structure(body, requested, forms, parameters="input_schema", root=ANTHROPIC_TOOL, part=ANTHROPIC_PART)
