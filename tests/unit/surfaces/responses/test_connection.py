"""What a connection remembers."""

from __future__ import annotations

import json
from typing import Any

from proxy.core.call import Call
from proxy.core.principal import UNKNOWN_CALLER
from proxy.surfaces.carriers import seal
from proxy.surfaces.responses.connection import MOST_REMEMBERED, ConnectionSurface, Remembered
from tests.support.calls import snapshot

ANSWER = {"type": "message", "id": "msg_1", "role": "assistant", "content": "Hi."}


def taken(surface: ConnectionSurface, **body: Any) -> Call:
    """A call on the connection, read."""
    raw = surface.body_of(json.dumps({"type": "response.create", "model": "auto", **body}).encode())
    arrived: Any = {"id": "req_1", "request_id": "r", "snapshot": snapshot(), "principal": UNKNOWN_CALLER}
    return surface.read(raw, {}, **arrived, path="/v1/responses", query="")


def answered(surface: ConnectionSurface, id: str, status: str = "completed") -> None:
    surface.note({"id": id, "status": status, "output": [ANSWER]})
    surface.end(surface.items())


def texts(call: Call) -> list[Any]:
    return [message["content"] for message in call.body["messages"]]


def surface(remembered: Remembered | None = None) -> ConnectionSurface:
    return ConnectionSurface(lambda: 0.0, remembered or Remembered())


def test_last_response_is_continued_with_all_before_it() -> None:
    made = surface()
    taken(made, input="one", store=False)
    answered(made, "resp_1")
    taken(made, input="two", store=False, previous_response_id="resp_1")
    answered(made, "resp_2")

    call = taken(made, input="three", store=False, previous_response_id="resp_2")

    assert texts(call) == ["one", "Hi.", "two", "Hi.", "three"]
    assert call.turn is not None
    assert call.turn.previous is None


def test_failed_call_forgets_what_it_has_continued() -> None:
    made = surface()
    taken(made, input="one", store=False)
    answered(made, "resp_1")
    taken(made, input="two", store=False)
    answered(made, "resp_2", "failed")
    kept = made.size
    taken(made, input="two", store=False, previous_response_id="resp_1")
    answered(made, "resp_2", "failed")

    assert kept > 0
    assert made.size == 0
    call = taken(made, input="three", store=False, previous_response_id="resp_1")
    assert call.turn is not None
    assert call.turn.previous == "resp_1"


def test_stored_response_is_not_remembered() -> None:
    made = surface()
    taken(made, input="one")
    answered(made, "resp_1")

    assert made.size == 0


def test_connections_share_a_bound() -> None:
    remembered = Remembered(most=1000)
    one, two = surface(remembered), surface(remembered)
    for each in (one, two):
        taken(each, input="x" * 600, store=False)
        answered(each, "resp_1")
    first, second = one.size, two.size
    one.forget()
    taken(two, input="x" * 600, store=False)
    answered(two, "resp_2")

    assert first > 600
    assert second == 0
    assert two.size > 600


def test_one_connection_has_a_bound() -> None:
    remembered = Remembered()

    assert not remembered.replace(0, MOST_REMEMBERED + 1)
    assert remembered.replace(0, MOST_REMEMBERED)


def test_summary_replaces_what_was_before_it() -> None:
    made = surface()
    taken(made, input="x" * 1000, store=False)
    answered(made, "resp_1")
    call = taken(made, input=[{"type": "compaction_trigger"}], store=False, previous_response_id="resp_1")
    summary = {"type": "compaction", "encrypted_content": seal(call, "openai", {"summary": "They met."}, "p")}
    made.note({"id": "resp_2", "status": "completed", "output": [summary]})
    made.end(made.items())

    next_call = taken(made, input="And?", store=False, previous_response_id="resp_2")

    assert made.size < 1000
    assert texts(next_call) == ["Summary of the conversation so far:\n\nThey met.", "And?"]
