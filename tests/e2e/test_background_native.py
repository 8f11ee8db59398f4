"""Responses in the background by a provider that has the Responses API itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.support.natives import RESPONSES, NativeUpstream
from tests.support.servers import signalbox, without_breakers
from tests.support.upstreams import Wire, stream
from tests.support.waiting import PATIENCE, until


@pytest.fixture(scope="module")
def client(module_natives: NativeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    config = {
        "store": "sqlite",
        "providers": {"p": {"base_url": f"{module_natives.url}/v1", "responses": "native", "any_model": True}},
        "resilience": without_breakers(attempts=1),
    }
    with (
        signalbox(config, tmp_path_factory.mktemp("box")) as box,
        openai.OpenAI(base_url=f"{box.url}/v1", api_key="key", max_retries=0, timeout=PATIENCE) as client,
    ):
        yield client


@pytest.fixture
def upstream(module_natives: NativeUpstream) -> NativeUpstream:
    module_natives.clear()
    return module_natives


def test_the_client_keeps_one_id(client: openai.OpenAI, upstream: NativeUpstream) -> None:
    upstream.script("m", stream([*RESPONSES.opening, *RESPONSES.words("m"), *RESPONSES.closing]))
    queued = client.responses.create(model="p/m", input="hi", background=True)
    events: list[Any] = list(client.responses.create(model="p/m", input="hi", background=True, stream=True))
    done: Any = until(lambda: ended(client, queued.id))

    for request in upstream.natives:
        assert request.path == "/v1/responses"
        assert "background" not in request.json
        assert request.json["stream"] is True
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events][:3] == [
        "response.created",
        "response.queued",
        "response.output_item.added",
    ]
    id = events[0].response.id
    assert (events[-1].type, events[-1].response.id) == ("response.completed", id)
    assert events[-1].response == client.responses.retrieve(id)
    assert list(client.responses.retrieve(id, stream=True, starting_after=3)) == events[4:]
    assert (done.status, done.id, done.background, done.output_text) == ("completed", queued.id, True, "all")
    assert done.created_at == queued.created_at
    assert done.output[0].id == "msg_1"


def ended(client: openai.OpenAI, id: str) -> Any:
    response = client.responses.retrieve(id)
    return response if response.status not in ("queued", "in_progress") else None


@pytest.mark.parametrize("end", ["cut", "error"])
def test_a_broken_stream_fails(end: str, client: openai.OpenAI, upstream: NativeUpstream) -> None:
    last, then = ([], Wire.reset) if end == "cut" else ([RESPONSES.errors["error"]], Wire.end)
    upstream.script("m", stream([*RESPONSES.opening, *RESPONSES.words("m"), *last], then))
    events: list[Any] = list(client.responses.create(model="p/m", input="hi", background=True, stream=True))
    response: Any = client.responses.retrieve(events[0].response.id)

    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (events[-1].type, events[-1].response) == ("response.failed", response)
    assert (response.status, response.error.code) == ("failed", "server_error")
