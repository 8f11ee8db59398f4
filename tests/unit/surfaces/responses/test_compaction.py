"""Compactions: the chat that asks for a summary, and the item with it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.call import Call
from proxy.core.errors import InvalidRequest, UpstreamError
from proxy.core.principal import UNKNOWN_CALLER
from proxy.surfaces.carriers import unseal
from proxy.surfaces.responses.compaction import COMPACT
from tests.support.calls import record, snapshot

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

    out = encoder.feed(json.dumps(answer).encode()) + encoder.finish()

    compaction = json.loads(out)
    [item] = compaction["output"]
    carried = unseal(call.snapshot, call.principal, item["encrypted_content"])
    assert (compaction["object"], item["type"], compaction["usage"]["total_tokens"]) == (
        "response.compaction",
        "compaction",
        7,
    )
    assert carried is not None
    assert carried.members == {"summary": "They met."}


@pytest.mark.parametrize(
    "body", [b"{}", b'{"choices":[{"message":{"content":" "}}]}', b"", b'{"choices":[{"message":5}]}']
)
def test_answer_without_a_summary_is_an_error(body: bytes) -> None:
    call = read(input="Hello")
    encoder = COMPACT.encoder(call, record(call), "application/json", native=False)
    assert encoder is not None
    encoder.feed(body)

    with pytest.raises(UpstreamError):
        encoder.finish()
