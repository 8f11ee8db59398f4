"""Native answers of a provider's Responses API: their bytes pass, and the turn gets what is stored."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.errors import UpstreamError
from proxy.surfaces.base import Encoder
from proxy.surfaces.responses.encoder import encoder_of
from tests.support.responses import call_of, events_of, record_of

ITEM = {"id": "msg_9", "type": "message", "role": "assistant", "status": "completed", "content": []}


def event(kind: str, number: int, **members: Any) -> bytes:
    value = {"type": kind, "sequence_number": number, **members}
    return f"event: {kind}\ndata: {json.dumps(value)}\n\n".encode()


def response(status: str, *output: dict[str, Any]) -> dict[str, Any]:
    return {"id": "resp_theirs", "object": "response", "status": status, "output": list(output), "store": False}


CREATED = event("response.created", 0, response=response("in_progress"))
DELTA = event("response.output_text.delta", 1, delta='"type":"response.completed"')
COMPLETED = event("response.completed", 2, response=response("completed", ITEM))


def native(*, stream: bool, **turn: Any) -> tuple[Any, Encoder | None]:
    call = call_of({"stream": stream}, **turn)
    return call.turn, encoder_of(call, record_of(call), native=True)


def test_stream_that_is_not_stored_passes_at_once() -> None:
    turn, encoder = native(stream=True)
    assert encoder is not None

    assert encoder.feed(CREATED + DELTA + COMPLETED) == CREATED + DELTA + COMPLETED
    assert encoder.finish() == b""
    assert turn.document is None


def test_last_event_of_a_stored_stream_waits_for_the_store() -> None:
    turn, encoder = native(stream=True, store=True, previous="resp_0", conversation="conv_1")
    assert encoder is not None

    assert encoder.feed(CREATED + DELTA) == CREATED + DELTA
    assert encoder.feed(DELTA + COMPLETED) == DELTA
    assert (turn.id, turn.output) == ("resp_theirs", [ITEM])
    stored = {"previous_response_id": "resp_0", "store": True, "conversation": {"id": "conv_1"}}
    assert turn.document == response("completed", ITEM) | stored
    assert encoder.finish() == COMPLETED


def test_failed_stream_is_not_stored() -> None:
    turn, encoder = native(stream=True, store=True)
    assert encoder is not None
    failed = event("response.failed", 1, response=response("failed"))

    assert encoder.feed(CREATED + failed) + encoder.finish() == CREATED + failed
    assert turn.document is None


def test_broken_stream_continues_the_numbers() -> None:
    _, encoder = native(stream=True)
    assert encoder is not None
    encoder.feed(CREATED)
    encoder.feed(DELTA)

    [last] = events_of(encoder.fail(UpstreamError("It broke off.")))

    assert (last["type"], last["sequence_number"], last["response"]["id"]) == ("response.failed", 2, "resp_theirs")
    assert last["response"]["status"] == "failed"


def test_store_that_fails_replaces_the_last_event() -> None:
    _, encoder = native(stream=True, store=True)
    assert encoder is not None
    encoder.feed(CREATED + DELTA + COMPLETED)

    [last] = events_of(encoder.fail(UpstreamError("The store does not answer.")))

    assert (last["type"], last["sequence_number"]) == ("response.failed", 2)


def test_error_event_of_the_provider_passes() -> None:
    _, encoder = native(stream=True)
    assert encoder is not None
    encoder.feed(CREATED)
    error = UpstreamError("no")
    error.native_event, error.native_format = event("error", 1, code="x"), "responses"

    assert encoder.fail(error) == error.native_event


def test_stream_that_breaks_before_anything_is_a_failed_response() -> None:
    _, encoder = native(stream=True)
    assert encoder is not None

    kinds = [each["type"] for each in events_of(encoder.fail(UpstreamError("no")))]

    assert kinds == ["response.created", "response.failed"]


def test_whole_answer_is_stored_and_passes() -> None:
    turn, encoder = native(stream=False, store=True)
    assert encoder is not None
    body = json.dumps(response("completed", ITEM), indent=1).encode()

    assert encoder.feed(body[:9]) + encoder.feed(body[9:]) == b""
    assert turn.output == [ITEM]
    assert encoder.finish() == body


def test_whole_answer_that_is_not_stored_needs_no_observer() -> None:
    assert native(stream=False)[1] is None


@pytest.mark.parametrize("id", [None, 5, "", "a\0b", "x" * 300, "\ud800"], ids=range(6))
def test_ids_that_cannot_be_stored_are_made(id: Any) -> None:
    turn, encoder = native(stream=False, conversation="conv_1")
    assert encoder is not None
    answer = {**response("completed", {**ITEM, "id": id}), "id": id}

    encoder.feed(json.dumps(answer).encode())

    assert (turn.id, turn.document["id"]) == ("resp_1", "resp_1")
    assert turn.output[0]["id"].startswith("msg_")
    assert json.loads(encoder.finish()) == answer
