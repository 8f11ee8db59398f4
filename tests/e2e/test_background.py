"""Responses in the background: states, resumed streams, cancellation, failures, and the ends of processes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import ResponseCreatedEvent

from tests.e2e.conftest import AccessLog
from tests.support.databases import Postgres
from tests.support.responses import events_of
from tests.support.servers import Running, signalbox, signalbox_process, without_breakers
from tests.support.upstreams import DONE, FINISH, ROLE, Upstream, Wire, held, refuse, stream, text_of, whole, words
from tests.support.waiting import PATIENCE, until

SLOW = held([ROLE, *words("m", 1)], [*words("n", 2), FINISH, DONE])


def configuration(url: str, store: str = "sqlite", drain: str = "30s") -> dict[str, Any]:
    return {
        "store": store,
        "server": {"drain": drain},
        "providers": {"p": {"base_url": url, "any_model": True}},
        "resilience": without_breakers(),
    }


@contextmanager
def sdk(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="key", max_retries=0, timeout=PATIENCE) as client:
        yield client


@pytest.fixture(scope="module")
def box(module_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with signalbox(configuration(module_upstream.url), tmp_path_factory.mktemp("box")) as running:
        yield running


@pytest.fixture
def upstream(module_upstream: Upstream) -> Upstream:
    module_upstream.clear()
    return module_upstream


@pytest.fixture
def client(box: Running) -> Iterator[openai.OpenAI]:
    with sdk(box.url) as client:
        yield client


@pytest.fixture
def replicas(upstream: Upstream, postgres_url: str, tmp_path: Path) -> Iterator[list[openai.OpenAI]]:
    """Clients of two replicas that share a database."""
    config = configuration(upstream.url, postgres_url)
    with ExitStack() as stack:
        clients = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            url = stack.enter_context(signalbox(config, tmp_path / name)).url
            clients.append(stack.enter_context(sdk(url)))
        yield clients


def ended(client: openai.OpenAI, id: str) -> Any:
    """The response, once it has ended."""

    def look() -> Any:
        response = client.responses.retrieve(id)
        return response if response.status not in ("queued", "in_progress") else None

    return until(look)


def is_in(client: openai.OpenAI, id: str, status: str) -> None:
    until(lambda: client.responses.retrieve(id).status == status)


def resumed(client: openai.OpenAI, id: str, after: int | None = None) -> list[Any]:
    """The events of a stream that is read again."""
    more: Any = {} if after is None else {"starting_after": after}
    return list(client.responses.retrieve(id, stream=True, **more))


def numbers(events: list[Any]) -> list[int]:
    return [event.sequence_number for event in events]


def test_a_response_runs_after_its_answer(client: openai.OpenAI, upstream: Upstream, access_log: AccessLog) -> None:
    upstream.script("m", SLOW)
    conversation = client.conversations.create().id
    queued = client.responses.create(model="p/m", input="hi", background=True, conversation=conversation)
    request = upstream.next()
    is_in(client, queued.id, "in_progress")
    running = client.responses.retrieve(queued.id)
    inputs: list[Any] = list(client.responses.input_items.list(queued.id))
    with pytest.raises(openai.BadRequestError) as locked:
        client.responses.create(model="p/m", input="hi", conversation=conversation)
    with pytest.raises(openai.BadRequestError, match="cannot be continued"):
        client.responses.create(model="p/m", input="hi", previous_response_id=queued.id)
    rejected = [access_log.next()["status"], access_log.next()["status"]]
    request.release()
    response = ended(client, queued.id)

    assert (queued.status, queued.background, queued.output) == ("queued", True, [])
    assert (running.status, running.output) == ("in_progress", [])
    assert [item.content[0].text for item in inputs] == ["hi"]
    assert locked.value.code == "conversation_locked"
    assert rejected == [400, 400]
    assert (response.status, response.output_text) == ("completed", "m0 n0 n1 ")
    assert response.created_at == queued.created_at
    assert response.background is True
    items: list[Any] = list(client.conversations.items.list(conversation, order="asc"))
    assert [item.content[0].text for item in items] == ["hi", "m0 n0 n1 "]
    line = access_log.next()
    assert (line["id"], line["status"], line["outcome"]) == (queued.id.replace("resp_", "req_"), 200, "ok")
    assert access_log.empty
    with pytest.raises(openai.BadRequestError, match="can be streamed again"):
        resumed(client, queued.id)
    upstream.script("m", whole)
    assert client.responses.create(model="p/m", input="more", previous_response_id=queued.id).status == "completed"


def test_a_stream_goes_on_at_another_replica(replicas: list[openai.OpenAI], upstream: Upstream) -> None:
    one, two = replicas
    upstream.script("m", SLOW)
    received: list[Any] = []
    with one.responses.create(model="p/m", input="hi", background=True, stream=True) as live:
        for event in live:
            received.append(event)
            if event.type == "response.output_text.delta":
                break
    id, last = received[0].response.id, received[-1].sequence_number
    upstream.next().release()
    elsewhere = resumed(two, id, last)
    again = resumed(one, id)
    end = resumed(two, id, last + 1000)

    assert [event.type for event in received[:3]] == ["response.created", "response.queued", "response.in_progress"]
    assert numbers(received + elsewhere) == list(range(len(again)))
    assert received + elsewhere == again
    assert again[-1].type == "response.completed"
    assert again[-1].response == one.responses.retrieve(id)
    assert again[-1].response.output_text == "m0 n0 n1 "
    assert {event.response.id for event in again if hasattr(event, "response")} == {id}
    assert [(event.type, event.sequence_number) for event in end] == [("response.completed", last + 1001)]
    assert len(upstream.requests) == 1


def test_a_stream_is_live(client: openai.OpenAI, upstream: Upstream) -> None:
    upstream.script("m", SLOW)
    with client.responses.create(model="p/m", input="hi", background=True, stream=True) as live:
        events = []
        for event in live:
            events.append(event)
            if event.type == "response.output_text.delta" and event.delta == "m0 ":
                with client.responses.retrieve(events[0].response.id, stream=True, starting_after=2) as other:
                    first = next(iter(other))
                    upstream.next().release()
                    others = [first, *other]

    assert numbers(events) == list(range(len(events)))
    assert others == events[3:]
    assert events[-1].type == "response.completed"


def test_a_response_is_cancelled_at_any_replica(replicas: list[openai.OpenAI], upstream: Upstream) -> None:
    one, two = replicas
    upstream.script("m", SLOW)
    conversation = one.conversations.create().id
    with one.responses.create(model="p/m", input="hi", background=True, stream=True, conversation=conversation) as live:
        id = next(iter(live)).response.id
        request = upstream.next()
        cancelled = two.responses.cancel(id)
        request.left()
        rest = list(live)
    again = one.responses.cancel(id)
    upstream.script("m", whole)
    until(lambda: free(two, conversation))

    assert cancelled.status == "cancelled"
    assert again == cancelled == one.responses.retrieve(id)
    assert (rest[-1].type, rest[-1].response.status) == ("response.failed", "cancelled")
    assert resumed(two, id)[-1].response.status == "cancelled"
    items: list[Any] = list(one.conversations.items.list(conversation, order="asc"))
    assert [item.content[0].text for item in items] == ["next", text_of("m")]
    with pytest.raises(openai.BadRequestError, match="background: true"):
        one.responses.cancel(one.responses.create(model="p/m", input="x").id)


def free(client: openai.OpenAI, conversation: str) -> bool:
    """Whether a turn of the conversation could be taken."""
    try:
        client.responses.create(model="p/m", input="next", conversation=conversation)
    except openai.BadRequestError:
        return False
    return True


def test_a_response_is_deleted_while_it_runs(client: openai.OpenAI, upstream: Upstream) -> None:
    upstream.script("m", SLOW)
    queued = client.responses.create(model="p/m", input="hi", background=True)
    request = upstream.next()
    client.responses.delete(queued.id)
    request.left()

    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(queued.id)


def test_failures_are_reported(client: openai.OpenAI, upstream: Upstream) -> None:
    upstream.script("cut", stream([ROLE, *words("x")], Wire.reset))
    upstream.script("bad", refuse(400, "too long", code="context_length_exceeded"))
    cut = client.responses.create(model="p/cut", input="hi", background=True)
    bad = client.responses.create(model="p/bad", input="hi", background=True)
    events = list(client.responses.create(model="p/cut", input="hi", background=True, stream=True))
    broken, refused = ended(client, cut.id), ended(client, bad.id)

    assert (broken.status, broken.error.code, broken.output_text) == ("failed", "server_error", text_of("x"))
    assert (refused.status, refused.error.code, refused.output) == ("failed", "context_length_exceeded", [])
    assert "too long" in refused.error.message
    last: Any = events[-1]
    assert numbers(events) == list(range(len(events)))
    assert (last.type, last.response.status) == ("response.failed", "failed")
    assert last.response == client.responses.retrieve(last.response.id)


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"store": False}, 400, "background"),
        ({"model": "nothing/here"}, 404, "model"),
        ({"previous_response_id": "resp_unknown"}, 400, "previous_response_id"),
        ({"conversation": "conv_unknown"}, 404, None),
        ({"input": []}, 400, "input"),
    ],
)
def test_a_call_that_cannot_begin_is_rejected(
    body: dict[str, Any], status: int, param: str | None, box: Running, http: httpx.Client, access_log: AccessLog
) -> None:
    url = f"{box.url}/v1/responses"
    answer = http.post(url, json={"model": "p/m", "input": "hi", "background": True, **body})

    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert access_log.next()["status"] == status
    assert access_log.empty
    assert http.get(f"{url}/{answer.headers['x-router-id'].replace('req_', 'resp_')}").status_code == 404


def test_numbers_of_events_are_checked(
    box: Running, client: openai.OpenAI, http: httpx.Client, upstream: Upstream
) -> None:
    created = list(client.responses.create(model="p/m", input="x", background=True, stream=True))[0]
    assert isinstance(created, ResponseCreatedEvent)
    url = f"{box.url}/v1/responses/{created.response.id}?stream=true"
    answers = [http.get(f"{url}&starting_after={number}") for number in ("-3", "x", "9" * 30)]
    unknown = http.get(f"{box.url}/v1/responses/resp_x?stream=true")

    rejected = [(answer.status_code, answer.json()["error"]["param"]) for answer in answers]
    assert rejected == [(400, "starting_after")] * 3
    assert unknown.status_code == 404


def test_without_a_store_nothing_runs_in_the_background(upstream: Upstream, http: httpx.Client, tmp_path: Path) -> None:
    with signalbox(configuration(upstream.url, "none"), tmp_path) as running:
        body = {"model": "p/m", "input": "hi", "background": True}
        answer = http.post(f"{running.url}/v1/responses", json=body)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "background")


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_a_process_is_a_failure(end: signal.Signals, upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("m", SLOW)
    config = configuration(upstream.url, drain="100ms")
    with signalbox_process(config, tmp_path) as process, sdk(process.url) as client:
        with client.responses.create(model="p/m", input="hi", background=True, stream=True) as live:
            id = next(iter(live)).response.id
            is_in(client, id, "in_progress")
        process.popen.send_signal(end)
        process.popen.wait(PATIENCE)
    with signalbox_process(config, tmp_path) as process, sdk(process.url) as client:
        response: Any = client.responses.retrieve(id)
        events = resumed(client, id)

    expected = "shutting down" if end == signal.SIGTERM else "has ended before"
    assert (response.status, response.error.code) == ("failed", "server_error")
    assert expected in response.error.message
    assert numbers(events) == list(range(len(events)))
    assert (events[-1].type, events[-1].response) == ("response.failed", response)


def test_a_drain_waits_for_what_runs(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("m", SLOW)
    config = configuration(upstream.url)
    with signalbox_process(config, tmp_path) as process, sdk(process.url) as client:
        id = client.responses.create(model="p/m", input="hi", background=True).id
        request = upstream.next()
        process.popen.send_signal(signal.SIGTERM)
        until(lambda: "draining" in process.log.read_text())
        request.release()
        process.popen.wait(PATIENCE)
    with signalbox_process(config, tmp_path) as process, sdk(process.url) as client:
        response = client.responses.retrieve(id)

    assert (response.status, response.output_text) == ("completed", "m0 n0 n1 ")


def test_events_are_those_of_one_stream(client: openai.OpenAI, upstream: Upstream, box: Running) -> None:
    upstream.script("m", whole)
    body = {"model": "p/m", "input": "hi", "background": True, "stream": True}
    live = httpx.post(f"{box.url}/v1/responses", json=body, timeout=PATIENCE)
    id = events_of(live.content)[0]["response"]["id"]
    again = httpx.get(f"{box.url}/v1/responses/{id}?stream=true", timeout=PATIENCE)

    assert live.headers["x-router-id"] == id.replace("resp_", "req_")
    assert live.headers["content-type"] == again.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert live.content == again.content


def test_a_response_ends_although_the_store_was_away(
    upstream: Upstream, postgres: Postgres, postgres_url: str, tmp_path: Path
) -> None:
    upstream.script("m", SLOW)
    with signalbox(configuration(upstream.url, postgres_url), tmp_path) as box, sdk(box.url) as client:
        id = client.responses.create(model="p/m", input="hi", background=True).id
        request = upstream.next()
        is_in(client, id, "in_progress")
        postgres.stop()
        try:
            request.release()
            with pytest.raises(openai.InternalServerError):
                client.responses.create(model="p/m", input="hi", background=True)
            until(lambda: "signalbox_store_degraded 1.0" in httpx.get(f"{box.url}/metrics").text)
        finally:
            postgres.start()
        response: Any = until(lambda: available(client, id))

    assert response.status in ("completed", "failed")  # failed: the store was away for longer than 5 s
    assert (response.error is None) == (response.status == "completed")
    assert response.output_text in ("m0 n0 n1 ", "m0 ")


def available(client: openai.OpenAI, id: str) -> Any:
    """The response, once it has ended and the store works."""
    try:
        response = client.responses.retrieve(id)
    except openai.InternalServerError:
        return None
    return response if response.status not in ("queued", "in_progress") else None
