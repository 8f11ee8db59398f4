"""Items that clients add to conversations: checked as those of a Responses input are, and completed with their ids."""

from __future__ import annotations

from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.core.turn import Item

MAX_ITEMS = 20  # in one request, as in OpenAI's API


def read_new_items(value: Any, seed: str, name: str = "items") -> list[Item]:
    """Return the items of a request; new ids are derived from `seed`. Raises `InvalidRequest` naming the member."""
    from proxy.surfaces.responses.messages import read_items
    from proxy.surfaces.responses.stored import named_items
    from proxy.surfaces.responses.tools import chat_name

    if not isinstance(value, list):
        raise InvalidRequest(f"`{name}` must be a list of items.", param=name)
    if len(value) > MAX_ITEMS:
        raise InvalidRequest(f"`{name}` has {len(value)} items; at most {MAX_ITEMS} are supported.", param=name)
    placed = [(f"{name}[{place}]", item) for place, item in enumerate(value)]
    for where, item in placed:
        kind = item.get("type", "message") if isinstance(item, dict) else None
        if kind == "item_reference":
            message = f"`{where}`: a reference cannot be added to a conversation; add the item itself."
            raise InvalidRequest(message, param=where)
        if kind == "message" and "role" in item and item.get("content") is None:
            message = f"`{where}.content` must be a string or a list of parts."
            raise InvalidRequest(message, param=f"{where}.content")
    read_items(placed, chat_name, lambda sealed: None, whole=False)
    return named_items(value, seed)
