"""Compactions: the chat that asks for a summary, and the item with it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.call import Call
from proxy.core.errors import InvalidRequest, UpstreamError
from proxy.core.principal import UNKNOWN_CALLER
from proxy.surfaces.carriers import seal, unseal
from proxy.surfaces.responses.compaction import COMPACT
from proxy.surfaces.responses.encoder import encoder_of
from proxy.surfaces.responses.request import read_response
from tests.support.calls import record, snapshot
from tests.support.responses import chunk, events_of, verify

HISTORY: list[Any] = [
    {
        "role": "user",
        "content": [{"type": "input_text", "text": "Look."}, {"type": "input_image", "image_url": "data:"}],
    },
    {"type": "function_call", "call_id": "c", "name": "look", "arguments": '{"a":1}'},
    {"type": "function_call_output", "call_id": "c", "output": "A cat."},
]


def read(**body: Any) -> Call:
    raw = json.dumps({"model": "auto", **body}).encode()
    arrival: Any = {"id": "req_1", "request_id": "r", "snapshot": snapshot(), "principal": UNKNOWN_CALLER}
    return COMPACT.read(raw, {}, **arrival, path="", query="")


def test_conversation_is_one_text_for_the_model() -> None:
    call = read(input=HISTORY, instructions="Be kind.", stream=True, tools=[{"type": "web_search"}])

    system, user = call.body["messages"]
    assert system["role"] == "system"
    assert user["content"] == "\n\n".join(
        ["System: Be kind.", "User: Look.\n[omitted]", 'Assistant: [call of look] {"a":1}', "Tool: A cat."]
    )
    assert (call.stream, call.native, "tools" in call.body) == (False, None, False)


def test_history_of_a_stored_response_is_part_of_it() -> None:
    call = read(previous_response_id="resp_0", input="And now?")
    assert call.turn is not None
    assert call.turn.store is False

    whole = call.turn.complete([{"type": "message", "role": "user", "content": "Hello"}])

    assert whole.body["messages"][1]["content"] == "User: Hello\n\nUser: And now?"


def test_model_is_needed() -> None:
    with pytest.raises(InvalidRequest) as caught:
        COMPACT.read(
            b'{"input":"Hello"}',
            {},
            id="",
            request_id="",
            snapshot=snapshot(),
            principal=UNKNOWN_CALLER,
            path="",
            query="",
        )

    assert caught.value.param == "model"


def test_summary_is_sealed_in_the_item() -> None:
    call = read(input="Hello")
    encoder = COMPACT.encoder(call, record(call), "application/json", native=False)
    assert encoder is not None
    answer = {"choices": [{"message": {"content": "They met."}}], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}

    compaction = json.loads(encoder.feed(json.dumps(answer).encode()) + encoder.finish())

    [item] = compaction["output"]
    carried = unseal(call.snapshot, call.principal, item["encrypted_content"])
    assert (compaction["object"], item["type"]) == ("response.compaction", "compaction")
    assert compaction["usage"]["total_tokens"] == 7
    assert carried is not None
    assert carried.members == {"summary": "They met."}


@pytest.mark.parametrize(
    "body", [b'{"choices":[{"message":{"content":" "}}]}', b'{"choices":[{"message":5}]}', b"{}", b""]
)
def test_answer_without_a_summary_is_an_error(body: bytes) -> None:
    call = read(input="Hello")
    encoder = COMPACT.encoder(call, record(call), "application/json", native=False)
    assert encoder is not None

    with pytest.raises(UpstreamError):
        encoder.feed(body) + encoder.finish()


def test_trigger_at_the_end_of_an_input_makes_a_stream_with_a_compaction() -> None:
    body = {"model": "auto", "input": [*HISTORY, {"type": "compaction_trigger"}], "stream": True, "tools": []}
    call = read_response(json.dumps(body).encode(), {}, id="req_1", request_id="r", snapshot=snapshot())
    encoder = encoder_of(call, record(call), native=False)
    assert encoder is not None
    assert call.turn is not None

    out = encoder.feed(chunk({"reasoning": "hm"}) + chunk({"content": "They "}) + chunk({"content": "met."}, "stop"))

    response = verify(events_of(out + encoder.finish()))
    assert [item["type"] for item in response["output"]] == ["compaction"]
    assert [message["role"] for message in call.body["messages"]] == ["system", "user"]
    assert (call.refused, [item["type"] for item in call.turn.input]) == (
        None,
        ["message", "function_call", "function_call_output"],
    )


def test_native_target_gets_the_trigger_itself() -> None:
    body = {"model": "auto", "input": [{"role": "user", "content": "Hello"}, {"type": "compaction_trigger"}]}
    raw = json.dumps(body).encode()

    call = read_response(raw, {}, id="req_1", request_id="r", snapshot=snapshot())

    assert call.native is not None
    assert call.native.raw == raw


def test_summary_replaces_what_a_stored_dialog_had_before() -> None:
    raw = json.dumps({"model": "auto", "input": "Who am I?", "previous_response_id": "resp_0"}).encode()
    call = read_response(raw, {}, id="req_1", request_id="r", snapshot=snapshot())
    assert call.turn is not None
    ours = {"type": "compaction", "encrypted_content": seal(call, "openai", {"summary": "It is Ada."}, "p")}
    theirs = {"type": "compaction", "encrypted_content": "gAAA"}
    said = {"type": "message", "role": "user", "content": "I am Ada."}

    whole, foreign = call.turn.complete([said, ours]), call.turn.complete([said, theirs])
    forged = call.turn.complete([said, {**ours, "encrypted_content": "sbx1.forged"}])

    assert [message["content"] for message in whole.body["messages"]] == [
        "Summary of the conversation so far:\n\nIt is Ada.",
        "Who am I?",
    ]
    assert [message["content"] for message in foreign.body["messages"]] == ["I am Ada.", "Who am I?"]
    assert foreign.dropped == ("input.compaction",)
    assert whole.native is not None
    assert foreign.native is not None
    assert forged.native is not None
    assert b"I am Ada." in forged.native.raw
    assert b"I am Ada." not in whole.native.raw
    assert b"It is Ada." in whole.native.raw
    assert json.loads(foreign.native.raw)["input"] == [
        theirs,
        {"type": "message", "role": "user", "content": "Who am I?"},
    ]
