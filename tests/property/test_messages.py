"""Any order of deltas gives a legal sequence of Anthropic's events, whatever the pieces in which the bytes come."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.call import Call
from proxy.core.errors import UpstreamError
from proxy.surfaces.messages.surface import MESSAGES
from tests.support.calls import call, deployment, record
from tests.support.upstreams import DONE, USAGE, chunk

CALL: Call = call()
TEXTS = st.text(max_size=5)


def _entry(index: int, begins: bool, arguments: str) -> dict[str, Any]:
    head = {"id": f"call_{index}", "type": "function"} if begins else {}
    name = {"name": f"tool_{index}"} if begins else {}
    return {"index": index, **head, "function": {**name, "arguments": arguments}}


TOOL = st.builds(_entry, st.integers(0, 3), st.booleans(), st.sampled_from(["", "{", "}", '{"a":', "1}", '{"b":2}']))
SIGNED = st.builds(
    lambda data: [{"index": 0, "type": "reasoning.encrypted", "data": data, "format": "anthropic-claude-v1"}],
    st.text(min_size=1, max_size=5),
)
DELTAS = st.fixed_dictionaries(
    {},
    optional={
        "content": TEXTS,
        "reasoning_content": TEXTS,
        "refusal": TEXTS,
        "reasoning_details": SIGNED,
        "tool_calls": st.lists(TOOL, max_size=2),
    },
)
FINISHES = st.sampled_from(["stop", "length", "tool_calls", "content_filter", "odd", None])


def encoded(data: bytes, cuts: list[int]) -> bytes:
    """What the client gets of a stream that comes in pieces."""
    encoder = MESSAGES.encoder(_streamed(), record(chosen=deployment()), "text/event-stream", native=False)
    assert encoder is not None
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    pieces = [data[start:end] for start, end in zip(places, places[1:], strict=False)]
    return b"".join([*map(encoder.feed, pieces), encoder.finish()])


def _streamed() -> Call:
    return call(b'{"model":"auto","messages":[{"role":"user","content":"Hi"}],"stream":true}')


def events_of(out: bytes) -> list[dict[str, Any]]:
    """The events, each checked to be named by its type."""
    events = []
    for text in out.decode().split("\n\n")[:-1]:
        name, _, data = text.partition("\ndata: ")
        events.append(json.loads(data))
        assert name == f"event: {events[-1]['type']}"
    return events


_DELTA_OF = {
    "text": ["text_delta"],
    "thinking": ["thinking_delta", "signature_delta"],
    "tool_use": ["input_json_delta"],
}


def message_of(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The content blocks of a legal sequence of events, as an SDK would merge them."""
    blocks: list[dict[str, Any]] = []
    is_open = False
    assert events[0]["type"] == "message_start"
    assert [event["type"] for event in events[-2:]] == ["message_delta", "message_stop"]
    for event in events[1:-2]:
        match event["type"]:
            case "content_block_start":
                assert not is_open
                assert event["index"] == len(blocks)
                blocks.append({**event["content_block"], "json": ""})
                is_open = True
            case "content_block_delta":
                assert is_open
                assert event["index"] == len(blocks) - 1
                delta, block = event["delta"], blocks[-1]
                assert delta["type"] in _DELTA_OF[block["type"]]
                if delta["type"] == "input_json_delta":
                    block["json"] += delta["partial_json"]
                else:
                    name = delta["type"].removesuffix("_delta")
                    block[name] += delta[name]
            case "content_block_stop":
                assert is_open
                assert event["index"] == len(blocks) - 1
                is_open = False
            case other:
                raise AssertionError(other)
    assert not is_open
    return blocks


def _text(deltas: list[dict[str, Any]]) -> str:
    return "".join((delta.get("content") or "") + (delta.get("refusal") or "") for delta in deltas)


@given(st.lists(DELTAS, max_size=12), FINISHES, st.lists(st.integers(0, 3000), max_size=6))
def test_any_deltas_give_a_legal_message(deltas: list[dict[str, Any]], finish: str | None, cuts: list[int]) -> None:
    data = b"".join([*map(chunk, deltas), chunk({}, finish=finish), chunk(usage=USAGE), DONE])

    out = encoded(data, cuts)

    events = events_of(out)
    blocks = message_of(events)
    assert out == encoded(data, [])
    assert "".join(block["text"] for block in blocks if block["type"] == "text") == _text(deltas)
    thinking = "".join(block["thinking"] for block in blocks if block["type"] == "thinking")
    assert thinking == "".join(delta.get("reasoning_content") or "" for delta in deltas)
    ids = [block["id"] for block in blocks if block["type"] == "tool_use"]
    assert len(ids) == len(set(ids))
    named = {entry["index"] for delta in deltas for entry in delta.get("tool_calls", ()) if "id" in entry}
    assert {block["name"] for block in blocks if block["type"] == "tool_use"} >= {f"tool_{index}" for index in named}
    assert events[-2]["usage"]["output_tokens"] == 3


@given(st.lists(DELTAS, max_size=6), st.integers(0, 3000))
def test_a_broken_stream_ends_with_an_error(deltas: list[dict[str, Any]], cut: int) -> None:
    data = b"".join(map(chunk, deltas))
    encoder = MESSAGES.encoder(_streamed(), record(chosen=deployment()), "text/event-stream", native=False)
    assert encoder is not None

    out = encoder.feed(data[:cut]) + encoder.fail(UpstreamError("broke"))

    events = events_of(out)
    assert events[-1]["type"] == "error"
    assert events[-1]["error"] == {"type": "api_error", "message": "broke"}
    assert "message_stop" not in [event["type"] for event in events]


PIECES = st.lists(st.integers(0, 3), min_size=1, max_size=30)


@given(PIECES)
def test_interleaved_calls_keep_their_arguments(order: list[int]) -> None:
    wanted = {index: json.dumps({"value": [index] * 3}) for index in range(4)}
    left = {index: [text[start : start + 4] for start in range(0, len(text), 4)] for index, text in wanted.items()}
    deltas = [{"tool_calls": [_entry(index, True, "")]} for index in range(4)]
    order = [*order, *(index for index in range(4) for _ in range(30))]
    deltas += [{"tool_calls": [_entry(index, False, left[index].pop(0))]} for index in order if left[index]]

    blocks = message_of(events_of(encoded(b"".join([*map(chunk, deltas), chunk({}, finish="tool_calls"), DONE]), [])))

    assert [(block["name"], block["json"]) for block in blocks] == [(f"tool_{i}", text) for i, text in wanted.items()]
