"""The recorder of a call in the background: its events, in memory and as batches for the store."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.background.recorder import MOST_PENDING, Recorder
from proxy.core.json_text import object_of
from proxy.core.sse import data_of
from proxy.surfaces.responses.background import queued_response
from tests.support.background import arrival_of, begun_call, events

pytestmark = pytest.mark.anyio


def recorder(*, keeps_events: bool = True) -> Recorder:
    async def flush(recorder: Recorder) -> None:
        if (batch := recorder.batch()) is not None:
            recorder.written(batch)

    call = begun_call(1)
    response = queued_response(call, 1)
    return Recorder(
        arrival_of(call), b"body", response, tenant="-", owner="here", keeps_events=keeps_events, flush=flush
    )


def numbers(events: Any) -> list[int]:
    values = [object_of(data_of(event) or b"") or {} for event in events]
    return [value["sequence_number"] for value in values]


async def test_body_is_read_once() -> None:
    made = recorder()

    assert [await made.read(), await made.read()] == [b"body", b""]


async def test_events_follow_those_that_the_store_has() -> None:
    made = recorder()
    changed = made.changed
    await made.begin_stream(200, b"", events=True)
    made.write(events("created", "in_progress", "output_text.delta"))
    first = made.batch()
    assert first is not None
    made.write(events("output_text.delta", "completed"))
    made.written(first)
    second = made.batch()

    assert changed.is_set()
    assert (first.first, numbers(first.events)) == (2, [2, 3])
    assert json.loads(first.document or b"")["status"] == "in_progress"
    assert second is not None
    assert (second.first, numbers(second.events), second.document) == (4, [4], None)
    assert numbers(made.since(3)) == [4]
    assert made.answer_events.response["id"] == "resp_1"
    made.written(second)
    assert made.batch() is None


async def test_call_waits_for_a_store_that_is_behind() -> None:
    made = recorder()
    large = b"event: x\ndata: " + json.dumps({"type": "x", "text": "x" * MOST_PENDING}).encode() + b"\n\n"

    assert not made.write(large)
    await made.drain()
    assert made.write(events("output_text.delta"))


async def test_without_a_stream_no_event_is_kept() -> None:
    made = recorder(keeps_events=False)
    await made.answer(200, b"", events("output_text.delta", "completed"))

    batch = made.batch()

    assert batch is not None
    assert (batch.events, made.answer_events.response["status"]) == ([], "completed")


async def test_turn_gets_the_id_that_the_client_has() -> None:
    made = recorder()
    turn = begun_call(2).turn
    assert turn is not None
    turn.document = {"id": "resp_theirs", "status": "completed"}

    await made.complete(turn)

    assert turn.id == "resp_1"
    assert (turn.document["id"], turn.document["status"]) == ("resp_1", "completed")
