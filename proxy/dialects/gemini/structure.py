"""`response_format` with tools, for models that support only one of them.

Gemini up to 2.5 rejects requests with functions and a JSON answer. For these, a function is added for the answer, and
the model is forced to call one of them. Such models have `tools+response_format` in `unsupported`, or are recognised by
their names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.core.model import Deployment
from proxy.dialects.answer_tool import Structure, answer_structure, asked_form, is_forced
from proxy.dialects.names import functions_of
from proxy.dialects.schema.forms import Forms
from proxy.dialects.schema.language import GEMINI_ANSWER, GEMINI_TOOL

PAIR = "tools+response_format"
_OLD = re.compile(r"(?:models/)?gemini-[12]\b")


def takes_one(deployment: Deployment) -> bool:
    """Whether a model supports only one of functions, Google's own tools, and a JSON answer."""
    return PAIR in deployment.unsupported or _OLD.match(deployment.model) is not None


def structure_of(body: Mapping[str, Any], deployment: Deployment, forms: Forms) -> Structure | None:
    """Return the function for `response_format`; None if the model supports the format itself.

    It has no tool if the client forces a call of its own tools, because the answer then has no text. Raises
    `InvalidRequest` if the other tools are Google's, which exclude functions.
    """
    if not (body.get("tools") or body.get("functions")) or not takes_one(deployment):
        return None
    asked = asked_form(body)
    if asked is None:
        return None
    if is_forced(body):
        return Structure()
    if not any(True for _ in functions_of(body)):
        message = (
            "`response_format` is not supported together with Google's own tools by this model; remove one of them."
        )
        raise InvalidRequest(message, param="response_format")
    return answer_structure(body, asked, forms, parameters="parametersJsonSchema", root=GEMINI_TOOL, part=GEMINI_ANSWER)


def add_answer_tool(native: dict[str, Any], structure: Structure) -> None:
    """Force a call of the function, or of any function if the model may call the client's."""
    if structure.tool is None:
        return
    declared = next(tool for tool in native["tools"] if "functionDeclarations" in tool)
    declared["functionDeclarations"].append(structure.tool)
    config = native.get("toolConfig", {}).get("functionCallingConfig", {})
    names = config.get("allowedFunctionNames", [])
    calling: dict[str, Any] = {"mode": "ANY"}
    if config.get("mode") == "NONE" or names:
        calling["allowedFunctionNames"] = [*names, structure.tool_name]
    native["toolConfig"] = {"functionCallingConfig": calling}
