"""`GET /v1/models`: one list for the clients of OpenAI and of Anthropic, whose members stand side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.core.model import Deployment
from proxy.core.timestamps import iso
from proxy.routing.names import UsableName

CREATED = 1_735_689_600  # models have no date of their own; a constant keeps lists comparable
MOST = 1000  # models of a page


def model_page(names: Sequence[UsableName], query: Mapping[str, str]) -> dict[str, Any]:
    """Return the page of names that `limit`, `after_id` and `before_id` ask for; all without them.

    Raises `InvalidRequest` for a parameter that is wrong.
    """
    ids = [name.id for name in names]
    start, end = 0, len(names)
    if after := query.get("after_id"):
        start = _place(ids, after, "after_id") + 1
    if before := query.get("before_id"):
        end = _place(ids, before, "before_id")
    limit = _limit(query["limit"]) if "limit" in query else max(1, len(names))
    first = max(start, end - limit) if before and not after else start
    last = max(first, min(end, first + limit))
    return {
        "object": "list",
        "data": [model_object(name) for name in names[first:last]],
        "has_more": first > start if before and not after else last < end,
        "first_id": ids[first] if first < last else None,
        "last_id": ids[last - 1] if first < last else None,
    }


def model_object(name: UsableName) -> dict[str, Any]:
    """Return one entry: OpenAI's members, Anthropic's, and our own."""
    model: dict[str, Any] = {
        "id": name.id,
        "object": "model",
        "created": CREATED,
        "owned_by": name.owner,
        "type": "model",
        "display_name": name.deployment.name if name.deployment and name.kind == "model" else name.id,
        "created_at": iso(CREATED),
        "name_kind": name.kind,
    }
    return model | (_extensions(name.deployment) if name.deployment else {})


def _extensions(deployment: Deployment) -> dict[str, Any]:
    price = deployment.price
    return {
        **({"mock": True} if deployment.provider.stand_in else {}),
        "kind": deployment.kind,
        "tier": deployment.tier,
        "context_window": deployment.context_window,
        "max_output": deployment.max_output,
        "max_input_tokens": deployment.context_window,
        "max_tokens": deployment.max_output,
        "capabilities": sorted(deployment.capabilities) if deployment.capabilities is not None else None,
        "price": {"input": price.input / 1e9, "output": price.output / 1e9} if price else None,
    }


def _place(ids: Sequence[str], id: str, param: str) -> int:
    if id not in ids:
        raise InvalidRequest(f"`{param}` must be the id of a model in the list.", param=param)
    return ids.index(id)


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 4 or not 1 <= int(text) <= MOST:
        raise InvalidRequest(f"`limit` must be a number from 1 to {MOST}.", param="limit")
    return int(text)
