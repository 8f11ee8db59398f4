"""Tools that clients of other formats expect their provider to execute (`Call.hosted`), as Google's own tools.

Source: ai.google.dev/gemini-api/docs/google-search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proxy.core.model import Deployment
from proxy.dialects.gemini.structure import takes_one

_SEARCH = "googleSearch"
_ANSWER_FORMS = ("responseJsonSchema", "responseSchema", "responseMimeType")


def add_hosted(native: dict[str, Any], hosted: Sequence[Mapping[str, Any]], deployment: Deployment) -> tuple[str, ...]:
    """Add the tools to a native body. Returns the names of those that it cannot have beside its functions."""
    tools = native.get("tools", [])
    form = native.get("generationConfig", {})
    if takes_one(deployment) and (tools or any(name in form for name in _ANSWER_FORMS)):
        return ("tools.web_search",)
    if not any(_SEARCH in tool for tool in tools):
        native["tools"] = [*tools, {_SEARCH: {}}]
    return ()
