"""Responses calls for tests of their answers, and the rules that every stream of events obeys."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from proxy.core.call import Call
from proxy.core.record import Record
from proxy.core.sse import split
from proxy.core.turn import Turn
from proxy.surfaces.responses.context import RequestContext
from proxy.surfaces.responses.tools import read_tools
from tests.support.calls import call as chat_call
from tests.support.calls import deployment, record

Event = dict[str, Any]
LAST = ("response.completed", "response.incomplete", "response.failed")
STARTED = 1_700_000_000  # seconds since 1970


def call_of(request: dict[str, Any] | None = None, **turn: Any) -> Call:
    """A call with the client's `request`; `turn` replaces members of its turn."""
    body = {"model": "auto", "input": "Hello", **(request or {})}
    call = chat_call()
    call.stream = body.get("stream") is True
    context = RequestContext(body, read_tools(body.get("tools")))
    call.turn = Turn("resp_1", [], lambda items: call, context=context, **turn)
    return call


def record_of(call: Call) -> Record:
    """The record of a call that one deployment answers."""
    row = record(call)
    row.time = STARTED * 1_000_000
    row.chosen = deployment()
    return row


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **members: Any) -> bytes:
    """A chunk of a chat completion."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    value = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "small-1", "choices": choices, **members}
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def events_of(stream: bytes) -> list[Event]:
    """The events of a stream, each with its name checked."""
    events = []
    for event in split(stream):
        name, data = event.decode().strip().split("\n")
        value = json.loads(data.removeprefix("data: "))
        assert name == f"event: {value['type']}"
        events.append(value)
    return events


def verify(events: list[Event]) -> Event:
    """Return the last response object. Raises `AssertionError` if the sequence of events is not legal."""
    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert [kind for kind in kinds if kind in LAST] == kinds[-1:]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    responses = [event["response"] for event in events if "response" in event]
    assert len({(response["id"], response["model"], response["created_at"]) for response in responses}) == 1
    items: list[_Item] = []
    for event in events[2:-1]:
        if event["type"] == "response.output_item.added":
            assert event["output_index"] == len(items)
            items.append(_Item(event["item"]))
        else:
            items[event["output_index"]].take(event)
    response: Event = responses[-1]
    if response["status"] != "failed":
        assert [item.done for item in items] == response["output"]
    return response


def fold(events: Iterable[Event], kind: str) -> str:
    """The joined deltas of one type."""
    return "".join(event["delta"] for event in events if event["type"] == f"response.{kind}.delta")


class _Item:
    """One item, and the parts that are open."""

    def __init__(self, item: Event) -> None:
        self.item = item
        self.done: Event | None = None
        self.parts: list[str] = []  # the text of each part
        self.open = False

    def take(self, event: Event) -> None:
        assert self.done is None
        kind = event["type"].removeprefix("response.")
        if kind == "output_item.done":
            assert not self.open
            assert (event["item"]["id"], event["item"]["type"]) == (self.item["id"], self.item["type"])
            self.done = event["item"]
            return
        assert event["item_id"] == self.item["id"]
        self._part(kind, event)

    def _part(self, kind: str, event: Event) -> None:
        at = int(event.get("content_index", event.get("summary_index")) or 0)
        if kind.endswith("part.added"):
            assert not self.open
            assert at == len(self.parts)
            self.parts.append("")
            self.open = True
        elif kind.endswith("part.done"):
            assert self.open
            assert at == len(self.parts) - 1
            self.open = False
        elif kind.endswith(".delta"):
            if kind in ("function_call_arguments.delta", "custom_tool_call_input.delta") and not self.parts:
                self.parts.append("")
            else:
                assert self.open or self.item["type"].endswith("_call")
            assert at == len(self.parts) - 1
            self.parts[at] += event["delta"]
        elif kind.endswith(".done"):
            text = next(event[name] for name in ("text", "refusal", "arguments", "input") if name in event)
            assert text == "".join(self.parts[at : at + 1])
