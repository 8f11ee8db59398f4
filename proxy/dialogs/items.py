"""Items that clients add to conversations: checked, and completed with their ids.

An item may have any type of the Responses API. Only what every reader relies on is checked; its other members are kept
as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proxy.core.errors import InvalidRequest

MAX_ITEMS = 20  # in one request, as in OpenAI's API
MAX_ID = 256  # characters
ROLES = ("user", "assistant", "system", "developer")
_PREFIXES = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
}


def read_new_items(value: Any, new_id: Callable[[str], str], name: str = "items") -> list[dict[str, Any]]:
    """Return the items of a request; `new_id` makes an id from a prefix. Raises `InvalidRequest` naming the member."""
    if not isinstance(value, list):
        raise InvalidRequest(f"`{name}` must be a list of items.", param=name)
    if len(value) > MAX_ITEMS:
        raise InvalidRequest(f"`{name}` has {len(value)} items; at most {MAX_ITEMS} are supported.", param=name)
    return [_item(item, f"{name}[{place}]", new_id) for place, item in enumerate(value)]


def _item(item: Any, where: str, new_id: Callable[[str], str]) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise InvalidRequest(f"`{where}` must be an object.", param=where)
    kind = item.get("type")
    if kind is None and "role" in item:
        kind = "message"
    if not isinstance(kind, str) or not kind:
        raise InvalidRequest(f"`{where}.type` must be a string, such as `message`.", param=f"{where}.type")
    if kind == "item_reference":
        message = f"`{where}`: a reference cannot be added to a conversation; add the item itself."
        raise InvalidRequest(message, param=where)
    id = item.get("id")
    if id is None:
        id = new_id(_PREFIXES.get(kind, "item"))
    elif not isinstance(id, str) or not 0 < len(id) <= MAX_ID or not id.isprintable():
        raise InvalidRequest(f"`{where}.id` must be 1 to {MAX_ID} printable characters.", param=f"{where}.id")
    made = {"id": id, **item, "type": kind}
    made["id"] = id
    return _message(made, where) if kind == "message" else made


def _message(item: dict[str, Any], where: str) -> dict[str, Any]:
    role, content = item.get("role"), item.get("content")
    if role not in ROLES:
        raise InvalidRequest(f"`{where}.role` must be one of {', '.join(ROLES)}.", param=f"{where}.role")
    if isinstance(content, str):
        text: dict[str, Any] = {"type": "input_text", "text": content}
        if role == "assistant":
            text = {"type": "output_text", "text": content, "annotations": [], "logprobs": []}
        content = [text]
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        message = f"`{where}.content` must be a string or a list of parts."
        raise InvalidRequest(message, param=f"{where}.content")
    return {**item, "status": item.get("status") or "completed", "content": content}
