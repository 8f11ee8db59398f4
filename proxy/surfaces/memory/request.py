"""Reads a call with `router.conversation`: its messages are a turn of a stored conversation.

The conversation's messages are put before those of the call, behind the system messages with which it begins. Stored
are the other messages of the call, as items of the Responses API, so that both kinds of clients can share a
conversation. System messages are not stored: like `instructions`, they belong to the call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from proxy.core.call import COUNTING, Call
from proxy.core.errors import InvalidRequest
from proxy.core.json_text import compact_nulled
from proxy.core.record import Record, Timings
from proxy.core.spans import edit
from proxy.core.turn import Item, Turn
from proxy.surfaces.carriers import unseal
from proxy.surfaces.memory.answer import items_of_answer
from proxy.surfaces.openai.chat import read_chat
from proxy.surfaces.responses.messages import opened_summary, read_items
from proxy.surfaces.responses.stored import continued, named_items
from proxy.surfaces.responses.tools import chat_name

Message = Mapping[str, Any]

_OPTION = "router.conversation"
_INSTRUCTIONS = ("system", "developer")


def with_conversation(call: Call) -> Call:
    """Return the call with its turn. Raises `InvalidRequest` for what a conversation cannot hold."""
    _check(call)
    messages: list[Message] = call.body["messages"]
    begin = 0
    while begin < len(messages) and messages[begin].get("role") in _INSTRUCTIONS:
        begin += 1
    own = [
        item
        for place, message in enumerate(messages[begin:], begin)
        if message.get("role") not in _INSTRUCTIONS
        for item in _items(message, f"messages[{place}]", call, place)
    ]
    if not own:
        message = "`messages` must have a message that is not a system message: it is added to the conversation."
        raise InvalidRequest(message, param="messages")
    turn = Turn(
        "resp_" + call.id.removeprefix("req_"),
        named_items(own, call.id),
        lambda earlier: _complete(with_turn, messages, begin, earlier, own),
        conversation=call.options.conversation,
    )
    native = replace(call.native, translated=True) if call.native is not None else None
    with_turn = replace(call, turn=turn, native=native)
    return with_turn


def _complete(
    call: Call, messages: Sequence[Message], begin: int, earlier: Sequence[Item], own: Sequence[Item]
) -> Call:
    """Return the call with the messages of the conversation behind its first `begin` messages."""
    opener = partial(unseal, call.snapshot, call.principal)
    earlier = continued(earlier, own, lambda item: opened_summary(item, opener) is not None)
    placed = [(f"conversation[{place}]", item) for place, item in enumerate(earlier)]
    history = read_items(placed, chat_name, opener, whole=False)
    whole = [*messages[:begin], *history.messages, *messages[begin:]]
    complete = read_chat(
        edit(call.raw, call.spans, {"messages": compact_nulled(whole)}),
        {},
        id=call.id,
        request_id=call.request_id,
        snapshot=call.snapshot,
        principal=call.principal,
        agent=call.agent,
    )
    changed = {name: getattr(complete, name) for name in ("raw", "body", "spans", "messages", "family")}
    return replace(call, **changed, dropped=(*call.dropped, *history.dropped))


def _check(call: Call) -> None:
    if call.turn is not None:
        raise InvalidRequest(f"`{_OPTION}` is not for this endpoint; use `conversation`.", param=_OPTION)
    if call.endpoint not in ("chat", COUNTING):
        raise InvalidRequest(f"`{_OPTION}` is not supported by this endpoint; it is for chats.", param=_OPTION)
    body = call.body
    for name, allowed in (("n", (1,)), ("audio", ()), ("functions", ())):
        if body.get(name) is not None and body[name] not in allowed:
            message = f"`{name}` is not supported with `{_OPTION}`; remove one of them."
            raise InvalidRequest(message, param=name)
    for place, tool in enumerate(body.get("tools") or ()):
        if tool.get("type", "function") != "function":
            message = f"`tools[{place}]`: only functions are supported with `{_OPTION}`."
            raise InvalidRequest(message, param=f"tools[{place}]")


def _items(message: Message, where: str, call: Call, place: int) -> list[Item]:
    """Return a message as items."""
    role, content = message.get("role"), message.get("content")
    if role == "user":
        return [{"type": "message", "role": "user", "content": _content(content, f"{where}.content")}]
    if role == "tool":
        id = message.get("tool_call_id")
        if not isinstance(id, str) or not id:
            member = f"{where}.tool_call_id"
            raise InvalidRequest(f"`{member}` must be the id of a call of a tool.", param=member)
        output = _content("" if content is None else content, f"{where}.content")
        return [{"type": "function_call_output", "call_id": id, "output": output, "status": "completed"}]
    if role == "assistant":
        record = Record(call.id, call.request_id, Timings(0.0))
        return items_of_answer(call, record, message, f"{call.id.removeprefix('req_')}{place:x}m")
    message_text = f"`{where}.role`: only system, developer, user, assistant and tool are supported with `{_OPTION}`."
    raise InvalidRequest(message_text, param=f"{where}.role")


def _content(content: Any, where: str) -> Any:
    """Return the content of a message or of a tool's result, as the content of an item."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InvalidRequest(f"`{where}` must be a string or a list of parts.", param=where)
    return [_part(part, f"{where}[{place}]") for place, part in enumerate(content)]


def _part(part: Any, where: str) -> Item:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return {"type": "input_text", "text": part["text"]}
    value = part.get(kind) if isinstance(kind, str) else None
    if kind == "image_url" and isinstance(value, dict):
        return {"type": "input_image", "image_url": value.get("url"), "detail": value.get("detail") or "auto"}
    if kind == "file" and isinstance(value, dict):
        names = ("file_id", "file_data", "filename")
        return {"type": "input_file", **{name: value[name] for name in names if value.get(name) is not None}}
    message = f"`{where}`: only text, images and files can be stored in a conversation."
    raise InvalidRequest(message, param=where)
