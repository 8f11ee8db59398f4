"""Responses streams: legal and independent of the cuts, whatever deltas come."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.errors import UpstreamError
from proxy.surfaces.responses.encoder import StreamEncoder, WholeEncoder
from tests.support.responses import call_of, chunk, events_of, fold, record_of, verify

TOOLS = [
    {"type": "function", "name": "look"},
    {"type": "custom", "name": "patch"},
    {"type": "tool_search", "execution": "client"},
]
TEXTS = st.text(max_size=6)
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda children: st.lists(children, max_size=2) | st.dictionaries(TEXTS, children, max_size=2),
    max_leaves=4,
)
NAMES = st.sampled_from((None, "", "look", "patch", "tool_search", "other"))
ARGUMENTS = TEXTS | st.sampled_from(("{}", '{"input":"', 'a"}', "{", "}", '{"input":"x"}'))


def call(index: Any, id: Any, name: Any, arguments: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, "id": id, "function": {"name": name, "arguments": arguments}}]}


CALLS = st.builds(call, st.sampled_from((None, 0, 1, 2)), st.sampled_from((None, "a", "b")), NAMES, ARGUMENTS)
SIGNED = st.sampled_from(
    (
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "SEALED", "format": "anthropic-claude-v1"}]},
        {"extra_content": {"google": {"thought_signature": "SIGNED"}}},
        {"google_parts": [{"executableCode": {}, "index": 0}]},
    )
)
DELTAS = st.one_of(
    st.builds(lambda text: {"content": text}, TEXTS),
    st.builds(lambda text: {"reasoning_content": text}, TEXTS),
    st.builds(lambda text: {"refusal": text}, TEXTS),
    CALLS,
    SIGNED,
    st.dictionaries(
        st.sampled_from(
            ("content", "reasoning", "tool_calls", "refusal", "images", "annotations", "extra_content", "web_searches")
        ),
        ODD,
    ),
    st.builds(lambda queries, pages: {"web_searches": [{"queries": queries, "pages": pages}]}, ODD, ODD),
)
FINISHES = st.sampled_from((None, "stop", "length", "tool_calls", "content_filter"))


def encoder() -> StreamEncoder:
    each = call_of({"stream": True, "tools": TOOLS}, store=True)
    assert each.turn is not None
    return StreamEncoder(each, record_of(each), each.turn)


@settings(max_examples=150, deadline=None)
@given(st.lists(DELTAS, max_size=12), FINISHES, st.data())
def test_any_deltas_are_a_legal_stream_however_they_are_cut(
    deltas: list[dict[str, Any]], finish: str | None, data: st.DataObject
) -> None:
    late = data.draw(st.lists(DELTAS, max_size=2))
    stream = b"".join([*map(chunk, deltas), chunk({}, finish), *map(chunk, late), b"data: [DONE]\n\n"])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    whole, cut = encoder(), encoder()

    at_once = whole.feed(stream) + whole.finish()
    pieces = [cut.feed(stream[start:end]) for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    assert b"".join(pieces) + cut.finish() == at_once
    response = verify(events_of(at_once))
    assert response["status"] == ("incomplete" if finish in ("length", "content_filter") else "completed")


@settings(max_examples=50, deadline=None)
@given(st.lists(DELTAS, max_size=8))
def test_any_stream_that_breaks_off_fails_legally(deltas: list[dict[str, Any]]) -> None:
    stream = encoder()

    out = b"".join(stream.feed(chunk(delta)) for delta in deltas) + stream.fail(UpstreamError("It broke off."))

    assert verify(events_of(out))["status"] == "failed"


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(("content", "reasoning_content", "refusal")), st.text(min_size=1)), max_size=8)
)
def test_no_text_is_lost(texts: list[tuple[str, str]]) -> None:
    stream = encoder()

    out = b"".join(stream.feed(chunk({name: text})) for name, text in texts) + stream.finish()

    events = events_of(out)
    verify(events)
    for name, kind in (
        ("content", "output_text"),
        ("refusal", "refusal"),
        ("reasoning_content", "reasoning_summary_text"),
    ):
        assert fold(events, kind) == "".join(text for each, text in texts if each == name)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from(("content", "refusal", "reasoning", "tool_calls", "images")), ODD | TEXTS))
def test_any_message_is_a_response(message: dict[str, Any]) -> None:
    each = call_of({"tools": TOOLS})
    assert each.turn is not None
    answer = WholeEncoder(each, record_of(each), each.turn)
    answer.feed(json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode())

    response = json.loads(answer.finish())

    assert response["status"] == "completed"
    assert all(item["status"] == "completed" for item in response["output"] if item["type"] != "reasoning")
