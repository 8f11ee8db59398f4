"""The answer of a call with `router.conversation`: what passes, what waits for the store, and what is stored."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.call import Call
from proxy.core.errors import Unavailable
from proxy.core.record import Record
from proxy.core.turn import Turn
from proxy.surfaces.base import Encoder
from proxy.surfaces.memory.answer import remembering
from proxy.surfaces.memory.request import with_conversation
from proxy.surfaces.openai.chat import read_chat
from proxy.surfaces.openai.debug import DebugStream
from proxy.surfaces.openai.surface import OpenAISurface
from tests.support import calls
from tests.support.upstreams import DONE, FINISH, ROLE, USAGE, chunk, completion, text_of, words

SURFACE = OpenAISurface(read_chat)
RAW = b'{"model":"auto","messages":[{"role":"user","content":"Hi"}],"router":{"conversation":"conv_1"}}'
LOST = Unavailable("The store does not answer now.")


def made(*, stream: bool = True) -> tuple[Call, Turn, Record]:
    call = with_conversation(calls.call(RAW))
    call.stream = stream
    assert call.turn is not None
    return call, call.turn, calls.record(call)


def stream(call: Call, record: Record, inner: Encoder | None = None) -> Encoder:
    return remembering(call, record, inner, SURFACE)


def test_a_stream_waits_for_the_store_from_its_finish_on() -> None:
    call, turn, record = made()
    encoder = stream(call, record)
    end = [FINISH, chunk(usage=USAGE), DONE]

    passed = [encoder.feed(data) for data in (ROLE, *words("x"))]
    kept = [encoder.feed(data) for data in end]

    assert passed == [ROLE, *words("x")]
    assert kept == [b""] * 3
    assert turn.document == {"id": turn.id, "status": "completed"}
    [item] = turn.output
    assert (item["role"], item["status"], item["content"][0]["text"]) == ("assistant", "completed", text_of("x"))
    assert encoder.finish() == b"".join(end)


def test_what_comes_after_the_finish_is_stored() -> None:
    call, turn, record = made()
    encoder = stream(call, record)

    for data in (chunk({"content": "a"}, finish="stop"), chunk({"content": "b"}), DONE):
        encoder.feed(data)

    assert "".join(part["text"] for item in turn.output for part in item["content"]) == "ab"
    assert turn.document == {"id": turn.id, "status": "completed"}


def test_a_stream_that_is_not_stored_ends_with_the_error() -> None:
    call, _, record = made()
    encoder = stream(call, record)
    for data in (*words("x"), FINISH, DONE):
        encoder.feed(data)

    assert encoder.fail(LOST) == SURFACE.event(LOST)


def test_what_another_encoder_writes_waits_as_well() -> None:
    call, turn, record = made()
    encoder = stream(call, record, DebugStream(lambda: {"id": "req_1"}))

    passed = encoder.feed(ROLE + words("x", 1)[0])
    kept = encoder.feed(FINISH + DONE)
    end = encoder.finish()

    assert passed == ROLE + words("x", 1)[0]
    assert kept == b""
    assert b'"router":{"id":"req_1"}' in end
    assert end.startswith(FINISH)
    assert end.endswith(DONE)
    assert turn.document is not None


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (chunk({}, finish="length"), "incomplete"),
        (chunk({}, finish="content_filter"), "incomplete"),
        (chunk({}, finish="error"), "failed"),
        (DONE, "completed"),
    ],
)
def test_the_finish_reason_decides_the_status(end: bytes, status: str) -> None:
    call, turn, record = made()
    encoder = stream(call, record)
    encoder.feed(words("x", 1)[0])
    encoder.feed(end)

    assert turn.document is not None
    assert turn.document["status"] == status


def test_a_stream_that_breaks_off_is_not_complete() -> None:
    call, turn, record = made()
    encoder = stream(call, record)
    encoder.feed(words("x", 1)[0] + b"data: {broken\n\n")

    assert turn.document is None
    assert encoder.fail(LOST) == SURFACE.event(LOST)


def test_a_whole_body_waits_for_the_store() -> None:
    call, turn, record = made(stream=False)
    function = {"name": "look", "arguments": "{}"}
    answer: dict[str, Any] = completion("Hello")
    answer["choices"][0]["message"]["tool_calls"] = [
        {"id": id, "type": "function", "function": function} for id in ("c1", "c2")
    ]
    body = json.dumps(answer).encode()
    encoder = remembering(call, record, None, SURFACE)

    assert encoder.feed(body) == b""
    assert [item["type"] for item in turn.output] == ["message", "function_call", "function_call"]
    assert turn.document == {"id": turn.id, "status": "completed"}
    assert encoder.finish() == body
    assert encoder.fail(LOST) == b""
