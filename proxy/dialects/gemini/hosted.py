"""Tools that clients of other formats expect their provider to execute (`Call.hosted`), as Google's own tools.

Source: ai.google.dev/gemini-api/docs/google-search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.core.model import Deployment
from proxy.dialects.gemini.structure import takes_one

_SEARCH = "googleSearch"
_ANSWER_FORMS = ("responseJsonSchema", "responseSchema", "responseMimeType")


def add_hosted(
    native: dict[str, Any],
    hosted: Sequence[Mapping[str, Any]],
    deployment: Deployment,
    forced: InvalidRequest | None = None,
) -> tuple[str, ...]:
    """Add the tools to a native body. Returns the names of those that it cannot have beside its functions.

    Google's API cannot force a search. For a call that does so, it is the only tool, and `tool_choice` is returned.
    Raises `forced` if the search cannot stand beside the form of the answer.
    """
    tools = native.get("tools", [])
    form = native.get("generationConfig", {})
    has_form = any(name in form for name in _ANSWER_FORMS)
    if forced is not None:
        if takes_one(deployment) and has_form:
            raise forced
        native["tools"] = [{_SEARCH: {}}]
        native.pop("toolConfig", None)
        return ("tool_choice",)
    if takes_one(deployment) and (tools or has_form):
        return ("tools.web_search",)
    if not any(_SEARCH in tool for tool in tools):
        native["tools"] = [*tools, {_SEARCH: {}}]
    return ()
