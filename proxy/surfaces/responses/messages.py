"""The items of a Responses input as the messages of a chat.

    message                     a message with the same role
    reasoning, function_call,   all adjacent ones, and messages of the assistant, are one assistant message
    custom_tool_call, ...
    function_call_output, ...   a `tool` message behind its call, in the order of the calls
    additional_tools            none: its tools are those of the call (`loaded`)
    compaction                  a message of the user with the summary
    image_generation_call       an image of the assistant's message
    item_reference              the stored item

Calls of hosted tools whose output is in another item (`shell_call`, `computer_call`) are calls of a function. What has
no counterpart is dropped and named; what only a provider's own Responses API can serve is `refused`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.core.json_text import compact_nulled
from proxy.surfaces.carriers import Carried
from proxy.surfaces.responses.assistant import Assistant, Message
from proxy.surfaces.responses.content import content_of, output_of, parts_of, text_of
from proxy.surfaces.responses.stored import COMPACTIONS
from proxy.surfaces.responses.tools import INPUT, SEARCH, chat_name

Item = Mapping[str, Any]
Unseal = Callable[[str], Carried | None]
PlacedItems = Iterable[tuple[str, Any]]  # each item with its place in the request, such as `input[3]`

SUMMARY = "summary"  # the member of a carrier in a `compaction` item
_ROLES = ("user", "system", "developer")
_HOSTED_CALLS = {  # with the member that has the arguments
    "local_shell_call": "action",
    "shell_call": "action",
    "apply_patch_call": "operation",
    "computer_call": "action",
}
_OUTPUTS = {
    "function_call_output",
    "custom_tool_call_output",
    "tool_search_output",
    *(f"{kind}_output" for kind in _HOSTED_CALLS),
}
_LOADS = ("additional_tools", "tool_search_output")
_SUMMARY_HEAD = "Summary of the conversation so far:\n\n"
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(slots=True)
class Conversation:
    """The messages of an input, with what a chat does not have."""

    messages: list[Message] = field(default_factory=list)
    dropped: dict[str, None] = field(default_factory=dict)  # names, in order
    refused: InvalidRequest | None = None

    def drop(self, name: str) -> None:
        """Add the name of something that is dropped."""
        self.dropped[_NOT_IN_NAMES.sub("", name)[:60]] = None

    def refuse(self, error: InvalidRequest) -> None:
        """Record why only a provider's own Responses API can serve the call."""
        self.refused = self.refused or error


def summary_of(carried: Carried) -> str | None:
    """Return the text for the model of a compaction that Signalbox has made, else `None`."""
    summary = carried.members.get(SUMMARY)
    return _SUMMARY_HEAD + summary if isinstance(summary, str) else None


def opened_summary(item: Item, unseal: Unseal) -> str | None:
    """Return the text for the model of an item of type `compaction`; `None` if Signalbox has not made it."""
    sealed = item.get("encrypted_content")
    carried = unseal(sealed) if isinstance(sealed, str) and sealed else None
    return None if carried is None else summary_of(carried)


def loaded_tools(items: PlacedItems) -> Iterable[tuple[str, Any]]:
    """Yield the tools that items of an input declare, with their place."""
    for where, item in items:
        if isinstance(item, dict) and item.get("type") in _LOADS:
            yield f"{where}.tools", item.get("tools")


def read_items(items: PlacedItems, name_of: Callable[..., str], unseal: Unseal, *, whole: bool) -> Conversation:
    """Return the conversation of `items`. Raises `InvalidRequest` that names the member.

    `name_of` is `ToolTable.chat_name`. `whole`: nothing precedes the items, so that every output must have a call.
    """
    reader = _Reader(name_of, unseal, whole)
    for where, item in items:
        reader.add(item, where)
    return reader.end()


class _Reader:
    def __init__(self, name_of: Callable[..., str], unseal: Unseal, whole: bool) -> None:
        self._conversation = Conversation()
        self._name_of = name_of
        self._unseal = unseal
        self._whole = whole
        self._open: Assistant | None = None
        self._messages: list[Message | None] = []  # `None`: the output of a call, which is not known yet
        self._outputs: dict[str, list[int]] = {}  # the places of outputs, by the call's id
        self._calls: dict[int, tuple[str, str]] = {}  # the call's id and its place in the request, by output

    def add(self, item: Any, where: str) -> None:
        if not isinstance(item, dict):
            raise InvalidRequest(f"`{where}` must be an object.", param=where)
        kind = item.get("type")
        if kind is None and "role" in item:
            kind = "message"
        if not isinstance(kind, str):
            raise InvalidRequest(f"`{where}.type` must be a string, such as `message`.", param=f"{where}.type")
        if (read := _READERS.get(kind)) is not None:
            read(self, item, where)
        elif kind in _HOSTED_CALLS:
            self._call(item, where, kind.removesuffix("_call"), _text(item.get(_HOSTED_CALLS[kind])))
        elif kind in _OUTPUTS:
            self._output(item, where, kind)
        elif kind in COMPACTIONS:
            self._compaction(item)
        elif kind not in _LOADS:
            self._conversation.drop(f"input.{kind}")

    def end(self) -> Conversation:
        """Return the conversation. Raises `InvalidRequest` for a call without an output."""
        self._close()
        for place, (id, where) in self._calls.items():
            if self._messages[place] is None and self._whole:
                message = (
                    f"`{where}`: no tool output found for function call {_short(id)}; add an item with its output."
                )
                raise InvalidRequest(message, param="input")
        self._conversation.messages += [message for message in self._messages if message is not None]
        return self._conversation

    def message(self, item: Item, where: str) -> None:
        role = item.get("role")
        if role == "assistant":
            self._spoken(item.get("content"), f"{where}.content")
            return
        if role not in _ROLES:
            message = f"`{where}.role` must be `user`, `assistant`, `system` or `developer`."
            raise InvalidRequest(message, param=f"{where}.role")
        self._close()
        content = content_of(item.get("content"), f"{where}.content", self._conversation.refuse)
        self._messages.append({"role": role, "content": content})

    def _spoken(self, content: Any, where: str) -> None:
        """Add the texts of an assistant's message."""
        answer = self._answer()
        answer.spoken = True
        if content is None or isinstance(content, str):
            content = [{"type": "output_text", "text": content or ""}]
        texts = []
        for part, at in parts_of(content, where):
            if part.get("type") == "refusal":
                answer.refusals.append(text_of(part, at, "refusal"))
            else:
                texts.append(text_of(part, at))
        if text := "".join(texts):
            answer.texts.append(text)

    def function(self, item: Item, where: str) -> None:
        arguments = item.get("arguments")
        text = "{}" if arguments is None or arguments == "" else _text(arguments)
        self._call(item, where, self._tool_name(item, where), text)

    def custom(self, item: Item, where: str) -> None:
        arguments = _text({INPUT: text_of(item, where, "input")})
        self._call(item, where, self._tool_name(item, where), arguments)

    def search(self, item: Item, where: str) -> None:
        if item.get("call_id") is not None:  # the server's own search loads its tools, and is no call
            self._call(item, where, SEARCH, _text(item.get("arguments")))

    def mcp(self, item: Item, where: str) -> None:
        """Add a call that a server has made, with its output."""
        name = self._tool_name({**item, "namespace": item.get("server_label")}, where)
        call = {**item, "call_id": item.get("id")}
        self._call(call, where, name, _text(item.get("arguments")))
        output = item.get("output") or item.get("error") or ""
        self._output({**call, "output": output}, where, "mcp_call")

    def image(self, item: Item, where: str) -> None:
        """Add an image that the model has made; targets that do not read them name them."""
        result = item.get("result")
        if isinstance(result, str) and result:
            self._answer().images.append(f"data:image/png;base64,{result}")  # readers detect the real type
        else:
            self._conversation.drop("input.image_generation_call")

    def reasoning(self, item: Item, where: str) -> None:
        answer = self._answer()
        sealed, content = item.get("encrypted_content"), item.get("content")
        carried = self._unseal(sealed) if isinstance(sealed, str) and sealed else None
        if carried is not None:
            answer.carried.append(carried)
            return
        texts = [text_of(part, at) for part, at in parts_of(content, f"{where}.content")] if content else []
        answer.reasoning += texts
        if sealed or not texts:
            self._conversation.drop("input.reasoning")

    def _compaction(self, item: Item) -> None:
        summary = opened_summary(item, self._unseal)
        if summary is None:
            self._conversation.drop(f"input.{item['type']}")
            return
        self._close()
        self._messages.append({"role": "user", "content": summary})

    def trigger(self, item: Item, where: str) -> None:
        message = f"`{where}`: a `compaction_trigger` must be the last item of the input."
        self._conversation.refuse(InvalidRequest(message, param=where))

    def reference(self, item: Item, where: str) -> None:
        if self._whole:  # it was not found
            message = f"`{where}.id`: there is no stored item `{_short(item.get('id'))}`; send the item itself."
            raise InvalidRequest(message, param=f"{where}.id")

    def _call(self, item: Item, where: str, name: str, arguments: str) -> None:
        """Add a call, and keep a place for its output behind the assistant's message."""
        id = _call_id(item, where)
        self._answer().call(id, name, arguments, where)

    def _output(self, item: Item, where: str, kind: str) -> None:
        if kind == "tool_search_output" and item.get("call_id") is None:
            return  # of a search by the server
        id = _call_id(item, where)
        places = self._outputs.get(id)
        if places is None or self._messages[places[-1]] is not None:
            # No earlier call waits for it. The output of an earlier call does not end the answer that is being read.
            self._close_if_calls(id)
            places = self._outputs.get(id)
        if places is None:
            if self._whole:
                message = f"`{where}.call_id`: no tool call found for function call output with call_id {_short(id)}."
                raise InvalidRequest(message, param="input")
            return
        place = next((place for place in places if self._messages[place] is None), places[-1])
        content = self._content(item, where, kind)
        self._messages[place] = {"role": "tool", "tool_call_id": id, "content": content}

    def _close_if_calls(self, id: str) -> None:
        """End the assistant's message if it contains a call with this id."""
        if self._open is not None and any(call["id"] == id for call in self._open.calls):
            self._close()

    def _content(self, item: Item, where: str, kind: str) -> str | list[dict[str, Any]]:
        output = item.get("output")
        if kind == "tool_search_output":
            return _text({"tools": list(_names(item.get("tools")))})
        if kind == "computer_call_output" and isinstance(output, dict):
            output = [output]
        if kind not in ("function_call_output", "custom_tool_call_output", "computer_call_output"):
            return output if isinstance(output, str) else _text(output)
        return output_of(output, f"{where}.output", self._conversation.refuse)

    def _tool_name(self, item: Item, where: str) -> str:
        name, namespace = item.get("name"), item.get("namespace")
        if not isinstance(name, str) or not name:
            raise InvalidRequest(f"`{where}.name` must be a string that is not empty.", param=f"{where}.name")
        return self._name_of(name, namespace if isinstance(namespace, str) and namespace else None)

    def _answer(self) -> Assistant:
        """Return the assistant's message that is being read."""
        if self._open is None:
            self._open = Assistant()
        return self._open

    def _close(self) -> None:
        """End the assistant's message, and keep a place for the output of each call."""
        answer, self._open = self._open, None
        if answer is None:
            return
        if (message := answer.message()) is None:
            self._conversation.drop("input.reasoning")
            return
        self._messages.append(message)
        for call, where in zip(answer.calls, answer.places, strict=True):
            place = len(self._messages)
            self._messages.append(None)
            self._outputs.setdefault(call["id"], []).append(place)
            self._calls[place] = call["id"], where


_READERS: Mapping[str, Callable[[_Reader, Item, str], None]] = {
    "message": _Reader.message,
    "function_call": _Reader.function,
    "custom_tool_call": _Reader.custom,
    "tool_search_call": _Reader.search,
    "mcp_call": _Reader.mcp,
    "image_generation_call": _Reader.image,
    "reasoning": _Reader.reasoning,
    "compaction_trigger": _Reader.trigger,
    "item_reference": _Reader.reference,
}


def _call_id(item: Item, where: str) -> str:
    id = item.get("call_id")
    if id is None and str(item.get("type")).startswith("local_shell_call"):
        id = item.get("id")
    if not isinstance(id, str) or not id:
        raise InvalidRequest(f"`{where}.call_id` must be a string that is not empty.", param=f"{where}.call_id")
    return id


def _names(tools: Any) -> Iterable[str]:
    """Yield the chat's names of the tools that a search found; `read_tools` checks them."""
    for tool in tools if isinstance(tools, list) else ():
        name, inner = (tool.get("name"), tool.get("tools")) if isinstance(tool, dict) else (None, None)
        if not isinstance(name, str):
            continue
        if isinstance(inner, list):
            yield from (chat_name(str(each.get("name")), name) for each in inner if isinstance(each, dict))
        else:
            yield chat_name(name)


def _text(value: Any) -> str:
    """Return a value as text: JSON, unless it is a string."""
    return value if isinstance(value, str) else compact_nulled({} if value is None else value).decode()


def _short(text: Any) -> str:
    return str(text)[:100]
