"""`POST /v1/responses`: reads the body, and makes a chat call of it.

The chat's body is written and read again, so that everything behind this module works as for a chat. The client's own
body stays beside it (`Call.native`) for a target that has the Responses API. A request that continues a stored dialog
is read twice: first alone, then with the earlier items (`Turn.complete`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from proxy.core.agents import AgentUse
from proxy.core.body import Document, parse
from proxy.core.call import Call, NativeRequest
from proxy.core.errors import InvalidRequest
from proxy.core.json_text import compact_nulled
from proxy.core.principal import UNKNOWN_CALLER, Principal
from proxy.core.snapshot import Snapshot
from proxy.core.spans import edit
from proxy.core.turn import Item, Turn
from proxy.surfaces.agents import note
from proxy.surfaces.carriers import is_carrier, unseal
from proxy.surfaces.openai.chat import read_chat
from proxy.surfaces.openai.checks import check_unique
from proxy.surfaces.responses.agents import names_agent, with_agent
from proxy.surfaces.responses.choice import read_choice
from proxy.surfaces.responses.context import RequestContext
from proxy.surfaces.responses.messages import (
    Conversation,
    Unseal,
    loaded_tools,
    opened_summary,
    read_items,
    summary_of,
)
from proxy.surfaces.responses.opened import native_family, opened
from proxy.surfaces.responses.parameters import chat_parameters, check_parameters
from proxy.surfaces.responses.stored import continued, named_items, sendable
from proxy.surfaces.responses.summary import asks_for_summary, summary_chat
from proxy.surfaces.responses.tools import read_tools

_HISTORY = ("previous_response_id", "conversation")


def read_response(
    raw: bytes,
    headers: Mapping[str, str],
    *,
    id: str,
    request_id: str,
    snapshot: Snapshot,
    principal: Principal = UNKNOWN_CALLER,
    path: str = "",
    query: str = "",
) -> Call:
    """Read and check a body. Raises `InvalidRequest` that names the parameter and what it should be."""
    document = parse(raw)
    check_unique(document.repeated)
    agent: AgentUse | None = None
    lost: tuple[str, ...] = ()
    if names_agent(document.body, snapshot):
        raw, agent, lost = with_agent(raw, document, snapshot)
        document = parse(raw)
    _check(document.body)
    return _Reader(raw, document, headers, id, request_id, snapshot, principal, path, query, agent, lost).read()


@dataclass(frozen=True, slots=True)
class _Reader:
    raw: bytes
    document: Document
    headers: Mapping[str, str]
    id: str
    request_id: str
    snapshot: Snapshot
    principal: Principal
    path: str
    query: str
    agent: AgentUse | None  # applied to the body
    lost: tuple[str, ...]  # members of the agent without a counterpart

    def read(self) -> Call:
        """Return the call with its turn; one with a history is complete only after `Turn.complete`."""
        body = self.document.body
        items = input_items(body.get("input"))
        turn = Turn("resp_" + self.id.removeprefix("req_"), [], lambda earlier: self._complete(call, earlier))
        turn.previous = body.get("previous_response_id")
        conversation = body.get("conversation")
        turn.conversation = conversation["id"] if isinstance(conversation, dict) else conversation
        turn.references = tuple(
            item["id"]
            for item in items
            if isinstance(item, dict) and item.get("type") == "item_reference" and isinstance(item.get("id"), str)
        )
        turn.store = body.get("store") is not False
        turn.background = bool(body.get("background"))
        turn.events = turn.background and bool(body.get("stream"))
        needs_history = bool(turn.previous or turn.conversation or turn.references)
        call = self._call(_placed(items, "input"), turn, whole=not needs_history)
        if turn.store or turn.conversation:
            turn.input += self._named(items)
        return call

    def _complete(self, call: Call, earlier: Sequence[Item]) -> Call:
        """Return the call with the items of its dialog before its own, and with the items that these refer to."""
        turn = call.turn
        assert turn is not None
        own = [found_item(item, turn) for item in input_items(self.document.body.get("input"))]
        if turn.references and turn.input:
            turn.input[:] = self._named(own)
        opener = self._opener()

        def opens(item: Item) -> bool:
            return opened_summary(item, opener) is not None

        def native_opens(item: Item) -> bool:  # a provider reads its own summaries
            return not is_carrier(item.get("encrypted_content")) or opens(item)

        placed = [*_placed(continued(earlier, own, opens), "history"), *_placed(own, "input")]
        return self._call(placed, turn, whole=True, native=[*continued(earlier, own, native_opens), *own])

    def _opener(self) -> Unseal:
        return partial(unseal, self.snapshot, self.principal)

    def _call(
        self, items: Sequence[tuple[str, Any]], turn: Turn, *, whole: bool, native: Sequence[Any] | None = None
    ) -> Call:
        """Return the chat call of placed items. `native`: the input of a target that has the Responses API."""
        body = self.document.body
        compacts = bool(items) and asks_for_summary(items[-1][1])
        items = items[:-1] if compacts else items
        table = read_tools(body.get("tools"), loaded_tools(items))
        choice = read_choice(body.get("tool_choice"), table)
        opener = self._opener()
        conversation = read_items(items, table.chat_name, opener, whole=whole)
        parameters, dropped = chat_parameters(body)
        messages = _messages(conversation, body.get("instructions"), whole)
        chat = {"model": body["model"], "messages": messages, **choice.members(body.get("parallel_tool_calls"))}
        chat |= parameters
        if "router" in body:
            chat["router"] = body["router"]
        call = read_chat(
            compact_nulled(summary_chat(chat) if compacts else chat),
            self.headers,
            id=self.id,
            request_id=self.request_id,
            snapshot=self.snapshot,
            principal=self.principal,
            path=self.path,
            query=self.query,
            agent=self.agent,
        )
        call.native = self._native(native, opener)
        call.dropped = tuple(dict.fromkeys((*table.dropped, *conversation.dropped, *dropped)))
        call.refused = conversation.refused
        call.family = call.family or native_family([item for _, item in items])
        if not compacts:  # a summary is written without tools
            call.refused = choice.refused or call.refused
            call.hosted = _searches(table.searches, body.get("max_tool_calls")) if choice.searches else ()
            call.forced = choice.forced
        call.turn = turn
        turn.context = RequestContext(body, table, compacts)
        return note(call, self.agent, self.lost)

    def _named(self, items: Sequence[Any]) -> list[Item]:
        """Return the items as they are stored."""
        return named_items([item for item in items if not asks_for_summary(item)], self.id)

    def _native(self, whole: Sequence[Any] | None, opener: Unseal) -> NativeRequest:
        """Return the client's body without what only the proxy reads; `whole` is its input with the history."""
        raw, spans = self.raw, self.document.spans
        items = self.document.body.get("input") if whole is None else sendable(whole)
        remove = [name for name in ("router", *(_HISTORY if whole is not None else ())) if name in spans]
        write = {} if whole is None else {"input": compact_nulled(items)}
        if self.document.body.get("background"):  # it runs in the background here, not at the provider
            remove.append("background")
            write["stream"] = b"true"
        if remove or write:
            raw = edit(raw, spans, write, remove)
            spans = parse(raw).spans
        return opened(NativeRequest("responses", raw, spans, query=self.query), items, opener, summary_of)


def _check(body: Mapping[str, Any]) -> None:
    check_parameters(body)
    if body.get("model") is None:
        raise InvalidRequest("You must provide `model`: a name of `GET /v1/models`, such as `auto`.", param="model")
    if body.get("previous_response_id") is not None and body.get("conversation") is not None:
        message = "`previous_response_id` and `conversation` exclude each other; send one of them."
        raise InvalidRequest(message, param="previous_response_id")
    if body.get("input") is None and all(body.get(name) is None for name in _HISTORY):
        raise InvalidRequest("You must provide `input`: a string or a list of items.", param="input")
    if body.get("background") and body.get("store") is False:
        message = "`background` needs `store`, because the response is retrieved later; remove `store: false`."
        raise InvalidRequest(message, param="background")


def _searches(tools: Iterable[Mapping[str, Any]], most: int | None) -> tuple[Mapping[str, Any], ...]:
    """Return web searches as in `Call.hosted`; at most `most` calls of hosted tools may be made."""
    return tuple(tools) if most is None else tuple({**tool, "max_uses": most} for tool in tools)


def input_items(value: Any) -> list[Any]:
    """Return the items of an input; a string is a message of the user."""
    if isinstance(value, str):
        return [{"type": "message", "role": "user", "content": value}]
    return value or []


def _placed(items: Iterable[Any], name: str) -> list[tuple[str, Any]]:
    return [(f"{name}[{place}]", item) for place, item in enumerate(items)]


def found_item(item: Any, turn: Turn) -> Any:
    """Return the stored item in place of a reference to it."""
    if isinstance(item, dict) and item.get("type") == "item_reference" and isinstance(item.get("id"), str):
        return turn.found.get(item["id"], item)
    return item


def _messages(conversation: Conversation, instructions: Any, whole: bool) -> list[dict[str, Any]]:
    """Return the messages, beginning with the instructions. Without their history, there may be none yet."""
    messages = conversation.messages
    if isinstance(instructions, str) and instructions:
        messages = [{"role": "system", "content": instructions}, *messages]
    if not messages and whole:
        raise InvalidRequest("`input` must have at least one item that the model can read.", param="input")
    return messages or [{"role": "user", "content": ""}]
