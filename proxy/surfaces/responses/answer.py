"""An answer as items: takes the deltas of a chat completion, and opens, fills and closes the items of a response.

Items come in the order in which they begin. A message or reasoning ends when something else begins. So does a tool call
whose arguments are a whole object by then; others end with the answer, because providers may send the arguments of
parallel calls in turns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from proxy.surfaces.responses.events import EventWriter
from proxy.surfaces.responses.items import (
    ImageItem,
    Item,
    MessageItem,
    ReasoningItem,
    Status,
    ToolCallItem,
    WebSearchItem,
)
from proxy.surfaces.responses.parts import annotation_of, objects, search_action, token_of
from proxy.surfaces.responses.sealing import Sealing
from proxy.surfaces.responses.tools import ToolTable

_SIGNED = frozenset(("reasoning_details", "extra_content", "google_parts"))  # members that may have signatures
_RARE = frozenset(("function_call", "annotations", "images"))
_I = TypeVar("_I", bound=Item)


class _Call:
    """A call as the provider sends it; its item begins when its name is known."""

    __slots__ = ("early", "id", "item")

    def __init__(self) -> None:
        self.id = ""
        self.item: ToolCallItem | None = None
        self.early: list[str] = []  # fragments of arguments before the name


class Answer:
    """The items of one answer."""

    def __init__(self, events: EventWriter, stem: str, tools: ToolTable, sealing: Sealing) -> None:
        """`stem` is the part of all ids that is unique to the answer."""
        self.items: list[Item] = []
        self.shows_sources = False  # searches have the pages that they found
        self._events = events
        self._stem = stem
        self._tools = tools
        self._sealing = sealing
        self._current: MessageItem | ReasoningItem | None = None  # the open one
        self._thought_name = ""  # the member of the deltas that has the reasoning
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._ids: set[str] = set()  # of the calls, for the client
        self._latest: ToolCallItem | None = None  # the last item, if it is a call

    def add(self, delta: Mapping[str, Any], logprobs: Any = None) -> None:
        """Take a delta, or a whole message. Members of unexpected types are ignored."""
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if reasoning and type(reasoning) is str:
            self._thought_name = "reasoning_content" if delta.get("reasoning_content") else "reasoning"
            self._reasoning().text(reasoning)
        calls = delta.get("tool_calls")
        if not _SIGNED.isdisjoint(delta) or (calls and _is_signed(calls)):
            self._carriers(delta)
        if searches := delta.get("web_searches"):
            self._searches(searches)
        content = delta.get("content")
        if logprobs is not None:
            self._logprobs(logprobs)
        if content:
            if type(content) is str:
                self._text("output_text").text(content)
            else:
                self._parts(content)
        refusal = delta.get("refusal")
        if type(refusal) is str and refusal:
            self._text("refusal").text(refusal)
        if calls:
            self._tool_calls(calls)
        if not _RARE.isdisjoint(delta):
            self._rare(delta)

    def close(self, status: Status) -> None:
        """End all items; `status` is that of the unfinished ones."""
        for call in self._calls:
            if call.item is None and (call.id or call.early):
                self._begin(call, "")
        if isinstance(self._current, ReasoningItem):
            self._close_current()
        if (sealed := self._sealing.of_end("", "")) is not None:
            self._new(ReasoningItem, "rs", sealed)
        for item in self.items:
            if not item.closed:
                item.close("completed" if isinstance(item, ToolCallItem) and item.is_whole else status)
        self._current = None

    def values(self) -> list[dict[str, Any]]:
        """Return all items as they are now."""
        values = [item.value() for item in self.items]
        for value in values:
            if value.get("status") == "in_progress":
                value["status"] = "incomplete"
        return values

    def ensure_message(self) -> None:
        """Add an empty message if there is no item."""
        if not any(not isinstance(item, ReasoningItem) for item in self.items):
            self._text("output_text")

    def _new(self, kind: type[_I], prefix: str, *more: Any) -> _I:
        """Close what something else follows, and begin an item."""
        self._close_current()
        latest, self._latest = self._latest, None
        if latest is not None and latest.is_whole:
            latest.close()
        index = len(self.items)
        item = kind(self._events, index, f"{prefix}_{self._stem}{index:02x}", *more)
        self.items.append(item)
        return item

    def _close_current(self) -> None:
        current, self._current = self._current, None
        if type(current) is ReasoningItem and current.encrypted is None:
            current.encrypted = self._sealing.of_end(current.summary, self._thought_name)
        if current is not None:
            current.close()

    def _text(self, kind: Any) -> MessageItem:
        """Return the open message, with an open part of this kind."""
        current = self._current
        if type(current) is not MessageItem:
            current = self._current = self._new(MessageItem, "msg")
        if current.kind != kind:
            current.begin(kind)
        return current

    def _reasoning(self) -> ReasoningItem:
        current = self._current
        if type(current) is not ReasoningItem or current.encrypted is not None:
            current = self._current = self._new(ReasoningItem, "rs")
        return current

    def _carriers(self, delta: Mapping[str, Any]) -> None:
        """Attach what the next turn must send back to the open reasoning, or to an item of its own."""
        for sealed in self._sealing.of_delta(delta):
            current = self._current
            if type(current) is ReasoningItem and current.encrypted is None:
                current.encrypted = sealed
            else:
                self._current = self._new(ReasoningItem, "rs", sealed)

    def _searches(self, searches: Any) -> None:
        for search in objects(searches):
            status: Status = "failed" if search.get("pages") is None else "completed"
            self._new(WebSearchItem, "ws", search_action(search, sources=self.shows_sources)).close(status)

    def _parts(self, content: Any) -> None:
        """Take a content that is a list of parts, as Mistral sends it."""
        for part in content if isinstance(content, list) else ():
            if not isinstance(part, dict):
                continue
            text = part.get("text")
            if part.get("type") == "text" and isinstance(text, str) and text:
                self._text("output_text").text(text)
            for thought in part.get("thinking") or () if isinstance(part.get("thinking"), list) else ():
                text = thought.get("text") if isinstance(thought, dict) else None
                if isinstance(text, str) and text:
                    self._reasoning().text(text)

    def _logprobs(self, logprobs: Any) -> None:
        tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
        if isinstance(tokens, list) and tokens:
            self._text("output_text").logprobs([token_of(token) for token in tokens if isinstance(token, dict)])

    def _rare(self, delta: Mapping[str, Any]) -> None:
        """Take the members that few answers have."""
        call = delta.get("function_call")  # the older form of a tool call
        if isinstance(call, dict) and (call.get("name") or call.get("arguments")):
            self._tool_calls([{"index": -1, "function": call}])
        for note in objects(delta.get("annotations")):
            if (annotation := annotation_of(note)) is not None:
                self._text("output_text").annotate(annotation)
        for image in objects(delta.get("images")):
            url = image.get("image_url")
            url = url.get("url") if isinstance(url, dict) else None
            if isinstance(url, str) and url:
                self._new(ImageItem, "ig", url.partition(";base64,")[2] or url).close()

    def _tool_calls(self, entries: Any) -> None:
        for entry in entries if isinstance(entries, list) else ():
            function = entry.get("function") if isinstance(entry, dict) else None
            if not isinstance(function, dict):
                continue
            call = self._call(entry.get("index"), entry.get("id"), function.get("name"))
            fragment = function.get("arguments")
            if type(fragment) is not str:
                continue
            if call.item is not None:
                call.item.arguments(fragment)
            else:
                call.early.append(fragment)

    def _call(self, index: Any, id: Any, name: Any) -> _Call:
        """Return the call that an entry belongs to; it may begin with the entry.

        Some providers number no calls, or all of them with 0, but give each its id.
        """
        numbered = type(index) is int
        call = self._by_index.get(index) if numbered else self._calls[-1] if self._calls else None
        id, name = id if isinstance(id, str) else "", name if isinstance(name, str) else ""
        if call is None or (name and call.item is not None and (id != call.id if id else not numbered)):
            call = _Call()
            self._calls.append(call)
            if numbered:
                self._by_index[index] = call
        call.id = call.id or id
        if name and call.item is None:
            self._begin(call, name)
        return call

    def _begin(self, call: _Call, name: str) -> None:
        """Begin the item of a call."""
        tool = self._tools.of(name)
        id = call.id if call.id not in self._ids else ""
        id = id or f"call_{self._stem}{len(self.items):02x}"
        self._ids.add(id)
        call.item = self._latest = self._new(ToolCallItem, _PREFIX[tool.kind], id, tool)
        for fragment in call.early:
            call.item.arguments(fragment)


def numbered(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a whole message with its calls numbered, so that equal ids do not join them."""
    calls = message.get("tool_calls")
    if not isinstance(calls, list):
        return message
    return {
        **message,
        "tool_calls": [{**call, "index": at} if isinstance(call, dict) else call for at, call in enumerate(calls)],
    }


def _is_signed(calls: Any) -> bool:
    return isinstance(calls, list) and any(isinstance(call, dict) and "extra_content" in call for call in calls)


_PREFIX: Mapping[str, str] = {"function": "fc", "custom": "ctc", "tool_search": "tsc"}
