"""What is on its way to the client when it leaves, with a server's `send` that the test holds back."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from starlette.types import Message

from proxy.core.errors import InternalError
from proxy.http.exchange import Direct, Endpoint, Ids
from proxy.http.forwarded import Forwarded
from proxy.http.output import AsgiOutput
from proxy.http.reading import Limits
from proxy.surfaces.openai.surface import COMMENT
from proxy.surfaces.table import SURFACES
from tests.support.clocks import idle

SCOPE = {"type": "http", "path": "/v1/chat/completions", "query_string": b"", "headers": []}

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


class Scripted:
    """A pipeline that answers with one chunk, when told to; at the end it notes what was still on its way."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.delivering: bool | None = None

    async def run(self, arrival: Any) -> None:
        await arrival.read()
        try:
            await arrival.begin_stream(200, b"content-type: text/event-stream\r\n", events=True)
            await self.go_on.wait()
            if not arrival.write(b"data: last\n\n"):
                await arrival.drain()
            await arrival.end_stream()
        finally:
            self.delivering = arrival.delivering


class Early:
    """A pipeline whose stream is opened early, and is silent after its chunk."""

    async def run(self, arrival: Any) -> None:
        await arrival.read()
        arrival.expect_stream(bytes)
        await asyncio.sleep(6.0)
        await arrival.begin_stream(200, b"", events=True)
        arrival.write(b"data: last\n\n")
        await arrival.drain()
        await asyncio.sleep(60.0)
        await arrival.end_stream()


class Failing:
    """A pipeline that fails, before or after it has begun a stream."""

    def __init__(self, *, begun: bool) -> None:
        self.begun = begun

    async def run(self, arrival: Any) -> None:
        await arrival.read()
        if self.begun:
            await arrival.begin_stream(200, b"content-type: text/event-stream\r\n", events=True)
        raise InternalError("Internal error.")


class Releasing:
    """A pipeline that releases something after its answer."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.released = False

    async def run(self, arrival: Any) -> None:
        await arrival.read()
        await arrival.answer(200, b"", b"{}")
        await self.go_on.wait()
        self.released = True


class Client:
    """One that sends its request and takes each message only when the test lets it."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, asyncio.Event]] = []
        self.gone = asyncio.Event()
        self._asked = False

    async def receive(self) -> Message:
        if self._asked:
            await self.gone.wait()
            return {"type": "http.disconnect"}
        self._asked = True
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            self.sent.append((message["body"], taken := asyncio.Event()))
            await taken.wait()


async def test_the_end_of_a_response_interrupts_no_call() -> None:
    pipeline, client = Releasing(), Client()
    limits = Limits(max_body=100, body_silence=30.0, write_stall=1000.0)
    endpoint = Endpoint(pipeline, SURFACES["/v1/chat/completions"], limits, Ids())

    async with asyncio.TaskGroup() as group:
        group.create_task(endpoint(SCOPE, client.receive, client.send))  # type: ignore[arg-type]
        await idle()
        client.sent[0][1].set()
        await idle()
        client.gone.set()  # as servers report after a response
        await idle()
        pipeline.go_on.set()

    assert pipeline.released


async def test_a_sent_comment_does_not_count_as_the_next_chunk() -> None:
    pipeline, client = Scripted(), Client()
    limits = Limits(max_body=100, body_silence=30.0, write_stall=1000.0, keep_alive=15.0)
    endpoint = Endpoint(pipeline, SURFACES["/v1/chat/completions"], limits, Ids())

    async with asyncio.TaskGroup() as group:
        group.create_task(endpoint(SCOPE, client.receive, client.send))  # type: ignore[arg-type]
        await asyncio.sleep(16.0)
        pipeline.go_on.set()
        await idle()
        [(comment, taken)] = client.sent
        taken.set()
        await idle()
        [_, (chunk, _)] = client.sent
        client.gone.set()

    assert (comment, chunk) == (COMMENT, b"data: last\n\n")
    assert pipeline.delivering is True


@pytest.mark.parametrize("begun", [False, True], ids=["response", "event"])
async def test_a_disconnect_while_an_error_is_written_ends_the_call(begun: bool) -> None:
    client = Client()
    limits = Limits(max_body=100, body_silence=30.0, write_stall=1000.0)
    endpoint = Endpoint(Failing(begun=begun), SURFACES["/v1/chat/completions"], limits, Ids())

    async with asyncio.TaskGroup() as group:
        call = group.create_task(endpoint(SCOPE, client.receive, client.send))  # type: ignore[arg-type]
        await idle()
        assert not call.done()
        client.gone.set()

    assert not call.cancelled()
    assert call.exception() is None


async def test_no_comment_follows_early_ones_if_they_are_off() -> None:
    bodies: list[bytes] = []

    async def send(message: Message) -> None:
        bodies.append(message.get("body", b"head"))

    limits = Limits(max_body=100, body_silence=30.0, write_stall=1000.0, keep_alive=0.0, early_comments=5.0)
    endpoint = Endpoint(Early(), SURFACES["/v1/chat/completions"], limits, Ids())

    await endpoint(SCOPE, Client().receive, send)  # type: ignore[arg-type]

    assert bodies == [b"head", COMMENT, b"data: last\n\n", b""]


async def test_clients_of_google_get_blank_lines_in_place_of_comments() -> None:
    bodies: list[bytes] = []

    async def send(message: Message) -> None:
        bodies.append(message.get("body", b"head"))

    limits = Limits(max_body=100, body_silence=30.0, write_stall=1000.0, keep_alive=0.0, early_comments=5.0)
    endpoint = Endpoint(Early(), SURFACES["/v1beta/models/{model:path}:streamGenerateContent"], limits, Ids())

    await endpoint(SCOPE, Client().receive, send)  # type: ignore[arg-type]

    assert bodies == [b"head", b"\n", b"data: last\n\n", b""]


async def test_an_os_error_of_the_server_is_a_disconnect() -> None:
    pipeline = Scripted()
    pipeline.go_on.set()

    async def send(message: Message) -> None:
        raise BrokenPipeError

    limits = Limits(max_body=100, body_silence=30.0, write_stall=1000.0)
    endpoint = Endpoint(pipeline, SURFACES["/v1/chat/completions"], limits, Ids())

    await endpoint(SCOPE, Client().receive, send)  # type: ignore[arg-type]

    assert pipeline.delivering is True


def test_ids_are_unique_within_a_process_and_between_processes() -> None:
    one, two = Ids(), Ids()

    made = [ids.new() for ids in (one, two) for _ in range(1000)]

    assert len(set(made)) == 2000


def test_an_id_is_one_word_that_any_header_takes() -> None:
    assert re.fullmatch(r"req_[0-9a-f]{24}", Ids().new())


class Noting:
    """A pipeline that notes the addresses of clients, and answers."""

    def __init__(self) -> None:
        self.addresses: list[str | None] = []

    async def run(self, arrival: Any) -> None:
        self.addresses.append(arrival.address)
        await arrival.answer(200, b"", b"")


@pytest.mark.parametrize(
    ("host", "address"),
    [("llm.example", "203.0.113.9"), ("inside", None), ("", None)],
    ids=["forwarded", "own", "none"],
)
async def test_direct_call_has_the_client_that_a_proxy_forwards(host: str, address: str | None) -> None:
    async def receive() -> Message:
        raise AssertionError("the body is not needed")

    async def send(message: Message) -> None:
        pass

    pipeline = Noting()
    limits = Limits(max_body=100, body_silence=30.0, write_stall=1000.0)
    endpoint = Endpoint(pipeline, SURFACES["/v1/chat/completions"], limits, Ids())
    direct = Direct({b"/call": endpoint}, {"llm.example"}, Forwarded(["10.0.0.0/8"]))
    headers = {"host": "inside", "x-forwarded-for": "203.0.113.9", "x-forwarded-host": host}

    handler = direct.handler(b"/call", headers, ("10.1.2.3", 1), AsgiOutput(receive, send, 10.0))
    if handler is not None:
        await handler

    assert pipeline.addresses == ([] if address is None else [address])
