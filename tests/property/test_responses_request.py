"""Any Responses request becomes a chat that all providers accept, or is rejected with the name of the member."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.call import Call
from proxy.core.errors import InvalidRequest
from proxy.surfaces.openai.checks import check
from proxy.surfaces.responses.request import read_response
from tests.support.calls import snapshot
from tests.support.exchanges import FOLDER, read

SNAPSHOT = snapshot()
RECORDED = FOLDER / "openai-responses.jsonl"

_texts = st.sampled_from(["", "a", "ü\ud800", '{"x":1}'])
_junk = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3)),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
_contents = _texts | st.lists(
    st.one_of(
        st.builds(lambda text: {"type": "input_text", "text": text}, _texts),
        st.builds(lambda text: {"type": "output_text", "text": text, "annotations": []}, _texts),
        st.just({"type": "input_image", "image_url": "https://a.test/b.png"}),
    ),
    max_size=3,
)
_calls = st.sampled_from(
    [
        {"type": "function_call", "name": "f", "arguments": "{}"},
        {"type": "custom_tool_call", "name": "g", "input": "x", "namespace": "n"},
        {"type": "tool_search_call", "arguments": {"q": 1}},
        {"type": "shell_call", "action": {}},
    ]
)
_single = st.one_of(
    st.builds(
        lambda role, content: {"role": role, "content": content},
        st.sampled_from(["user", "system", "developer"]),
        _contents,
    ),
    st.builds(lambda text: {"role": "assistant", "content": text}, _texts),
    st.builds(lambda text: {"type": "reasoning", "summary": [], "encrypted_content": text}, _texts),
    st.sampled_from([{"type": "web_search_call"}, {"type": "compaction"}, {"type": "item_reference", "id": "msg_1"}]),
)


@st.composite
def _loops(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Calls and their outputs, both in any order, with other items between them."""
    calls = [{**call, "call_id": f"c{place}"} for place, call in enumerate(draw(st.lists(_calls, max_size=3)))]
    outputs = [
        {"type": f"{call['type']}_output", "call_id": call["call_id"], "output": draw(_contents)} for call in calls
    ]
    between = draw(st.lists(_single, max_size=2))
    return [*calls, *between, *draw(st.permutations(outputs))]


_items = st.one_of(_loops(), _single.map(lambda item: [item]))
_inputs = st.lists(_items, max_size=5).map(lambda items: [item for part in items for item in part])
_tools = st.lists(
    st.sampled_from(
        [
            {"type": "function", "name": "f"},
            {"type": "custom", "name": "g"},
            {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "f"}]},
            {"type": "tool_search", "execution": "client"},
            {"type": "web_search"},
        ]
    ),
    max_size=4,
)
_bodies = st.fixed_dictionaries(
    {"model": st.just("auto"), "input": _inputs},
    optional={
        "tools": _tools,
        "tool_choice": st.sampled_from(["auto", "none"]),
        "text": st.sampled_from([{}, {"format": {"type": "json_object"}, "verbosity": "low"}]),
        "reasoning": st.sampled_from([{}, {"effort": "low"}]),
        "instructions": _texts,
        "stream": st.booleans(),
    },
)
_MEMBERS = ("tools", "tool_choice", "text", "reasoning", "include", "instructions", "metadata", "input", "conversation")


def call_of(body: Any) -> Call:
    raw = json.dumps(body).encode()
    return read_response(raw, {}, id="req_1", request_id="r", snapshot=SNAPSHOT)


def assert_is_legal(call: Call) -> None:
    """Results follow their calls, one for each, in their order; no two messages of the assistant are adjacent."""
    check(call.body)
    messages = call.body["messages"]
    assert not any(first["role"] == second["role"] == "assistant" for first, second in pairwise(messages))
    expected: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            assert message["tool_call_id"] == expected.pop(0)
            continue
        assert not expected
        expected = [each["id"] for each in message.get("tool_calls", ())]
    assert not expected


def whole_call(earlier: list[Any], **body: Any) -> Call | None:
    """Return the call with its history, or `None` if the request is rejected with the name of a member."""
    try:
        turn = call_of({"model": "auto", **body}).turn
        assert turn is not None
        turn.found["msg_1"] = {"type": "message", "id": "msg_1", "role": "user", "content": "stored"}
        return turn.complete(earlier)
    except InvalidRequest as error:
        if error.param or str(error).startswith("The body"):
            return None
        raise


@settings(max_examples=150, deadline=None)
@given(_bodies)
def test_request_is_a_legal_chat_or_rejected(body: dict[str, Any]) -> None:
    call = whole_call([], **body)

    if call is not None:
        assert_is_legal(call)


@settings(max_examples=200, deadline=None)
@given(st.lists(_junk | _single | _calls, max_size=5), st.dictionaries(st.sampled_from(_MEMBERS), _junk, max_size=4))
def test_hostile_request_is_read_or_rejected(items: list[Any], members: dict[str, Any]) -> None:
    call = whole_call([], **{"input": items, **members})

    assert call is None or call.body["messages"]


@settings(max_examples=100, deadline=None)
@given(_inputs, _inputs)
def test_history_and_input_are_one_conversation(earlier: list[Any], own: list[Any]) -> None:
    own = [*own, {"role": "user", "content": "x"}]
    earlier = [item for item in earlier if not (isinstance(item, dict) and item.get("type") == "item_reference")]

    parted = whole_call(earlier, input=own, previous_response_id="resp_1")
    whole = whole_call([], input=[*earlier, *own])

    assert (parted and parted.body["messages"]) == (whole and whole.body["messages"])


@pytest.mark.skipif(not RECORDED.is_file(), reason="the recordings are not part of the project")
def test_recorded_requests_are_legal_chats() -> None:
    rejected = {}
    for exchange in read(RECORDED):
        body = exchange["request"]["body"]
        own = [item for item in body["input"] if isinstance(item, dict)] if isinstance(body["input"], list) else []
        if body.get("background") or any(item.get("type") == "function_call_output" for item in own[:1]):
            continue  # the calls of these outputs are in a history that was not recorded
        try:
            call = call_of(body)
            assert_is_legal(call if not call.turn or not call.turn.previous else call.turn.complete([]))
        except InvalidRequest as error:
            rejected[exchange["id"]] = str(error)

    assert rejected == {}
