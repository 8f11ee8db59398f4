"""`GET /v1beta/models`, and `GET /v1/models` for clients of Google's API: the list of models in Google's format.

Source: ai.google.dev/api/models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.routing.names import UsableName

MOST = 1000  # models of a page, as in Google's API
_OF_CHAT = ["generateContent", "streamGenerateContent", "countTokens"]
_METHODS = {"chat": _OF_CHAT, "embedding": ["embedContent", "batchEmbedContents"]}


def google_page(names: Sequence[UsableName], query: Mapping[str, str]) -> dict[str, Any]:
    """Return the page of names that `pageSize` and `pageToken` ask for.

    Raises `InvalidRequest` for a parameter that is wrong.
    """
    ids = [name.id for name in names]
    start = 0
    if token := query.get("pageToken") or query.get("page_token"):
        if token not in ids:
            raise InvalidRequest("`pageToken` must be the `nextPageToken` of another page.", param="pageToken")
        start = ids.index(token)
    end = start + _size(query.get("pageSize") or query.get("page_size"))
    following = {"nextPageToken": ids[end]} if end < len(ids) else {}
    return {"models": [google_model(name) for name in names[start:end]], **following}


def google_model(name: UsableName) -> dict[str, Any]:
    """Return one entry."""
    deployment = name.deployment
    kind = deployment.kind if deployment is not None else "chat"
    model: dict[str, Any] = {
        "name": f"models/{name.id}",
        "version": "1",
        "displayName": deployment.name if deployment is not None and name.kind == "model" else name.id,
        "supportedGenerationMethods": _METHODS.get(kind, []),
    }
    if deployment is not None and deployment.context_window is not None:
        model["inputTokenLimit"] = deployment.context_window
    if deployment is not None and deployment.max_output is not None:
        model["outputTokenLimit"] = deployment.max_output
    return model


def _size(text: str | None) -> int:
    """Return the models of a page; a larger number than `MOST` is `MOST`."""
    if text is None:
        return MOST
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise InvalidRequest("`pageSize` must be a number.", param="pageSize")
    return min(int(text), MOST) or MOST
