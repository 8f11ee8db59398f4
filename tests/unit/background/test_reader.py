"""Readers of a response in the background: from memory, from the store, and when neither has it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from proxy.background.reader import SILENCE_SECONDS, Reader
from proxy.background.recorder import Recorder
from proxy.core.errors import NotFound, Unavailable
from proxy.core.json_text import object_of
from proxy.core.sse import data_of, split
from proxy.store.background import StoredEvents, View
from proxy.store.errors import StoreUnavailable
from proxy.surfaces.responses.background import first_events, queued_response
from tests.support.background import arrival_of, begun_call, events
from tests.support.clocks import idle

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

RESPONSE = queued_response(begun_call(1), 1)
BEGIN = StoredEvents(0, 1, b"".join(first_events(RESPONSE)))


class Responses:
    """One response: its recorder if it runs here, and what the store answers."""

    def __init__(self, *answers: View | Exception, recorder: Recorder | None = None) -> None:
        self._answers = list(answers)
        self.running = recorder

    async def view(self, tenant: str, id: str, after: int | None = None) -> View:
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def recorder(self, tenant: str, id: str) -> Recorder | None:
        return self.running


def view(status: str, *events: StoredEvents, more: bool = False) -> View:
    document = json.dumps({**RESPONSE, "status": status}).encode()
    return View(status, document, "there", False, True, events, more)


def reader(responses: Responses, after: int = -1) -> Reader:
    return Reader(responses, "-", "resp_1", after, RESPONSE)


def recorder() -> Recorder:
    async def flush(recorder: Recorder) -> None:
        """The store has everything."""

    call = begun_call(1)
    return Recorder(arrival_of(call), b"", RESPONSE, tenant="-", owner="here", keeps_events=True, flush=flush)


async def read(reader: Reader) -> list[tuple[str, int]]:
    """The types and numbers of all events."""
    values: list[Any] = [
        object_of(data_of(event) or b"") async for data in reader.events() for event in split(data) if event.strip()
    ]
    return [(value["type"].removeprefix("response."), value["sequence_number"]) for value in values]


async def test_stored_events_end_with_the_final_response() -> None:
    delta = StoredEvents(2, 2, events("output_text.delta").replace(b'"sequence_number": 0', b'"sequence_number": 2'))
    responses = Responses(view("queued", BEGIN), view("in_progress", delta, more=True), view("completed"))

    assert await read(reader(responses)) == [
        ("created", 0),
        ("queued", 1),
        ("output_text.delta", 2),
        ("completed", 3),
    ]


async def test_reader_begins_behind_an_event() -> None:
    assert await read(reader(Responses(view("completed", BEGIN)), after=0)) == [("queued", 1), ("completed", 2)]


@pytest.mark.parametrize(("status", "last"), [("incomplete", "incomplete"), ("cancelled", "failed")])
async def test_stream_of_a_response_without_a_whole_answer_ends(status: str, last: str) -> None:
    assert await read(reader(Responses(view(status)), after=1)) == [(last, 2)]


async def test_events_come_from_memory_while_it_runs_here() -> None:
    running = recorder()
    responses = Responses(view("queued", BEGIN), view("completed"), recorder=running)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(read(reader(responses)))
        await idle()
        running.write(events("output_text.delta", "output_text.delta"))
        await idle()
        responses.running = None
        running.wake()

    assert [number for _, number in task.result()] == [0, 1, 2, 3, 4]


async def test_silent_reader_returns_nothing_from_time_to_time() -> None:
    silent = reader(Responses(recorder=recorder()), after=1).events()
    began = asyncio.get_running_loop().time()

    assert [await anext(silent), await anext(silent)] == [b"", b""]
    assert asyncio.get_running_loop().time() - began >= SILENCE_SECONDS


async def test_reader_waits_for_the_store() -> None:
    responses = Responses(StoreUnavailable("the store is unavailable: gone"), view("completed", BEGIN))

    assert await read(reader(responses)) == [("created", 0), ("queued", 1), ("completed", 2)]


async def test_deleted_response_ends_its_streams() -> None:
    [data] = [data async for data in reader(Responses(NotFound("There is no response.")), after=4).events()]

    value: Any = object_of(data_of(data) or b"")
    assert (value["type"], value["sequence_number"], value["code"]) == ("error", 5, "not_found")


async def test_reader_that_cannot_go_on_reports_a_failure() -> None:
    made = reader(Responses(), after=4)

    value: Any = object_of(data_of(made.fail(Unavailable("The server is shutting down."))) or b"")

    assert (value["type"], value["sequence_number"]) == ("response.failed", 5)
    assert value["response"]["error"]["message"] == "The server is shutting down."
    assert (made.feed(b"x"), made.finish()) == (b"x", b"")
