"""WebSocket connections to `/v1/responses`, with an independent client: turns, continuations, errors, limits, ends."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.e2e.conftest import AccessLog
from tests.support.responses import LAST, verify
from tests.support.servers import Running, signalbox, signalbox_process, without_breakers
from tests.support.upstreams import DONE, FINISH, ROLE, Upstream, Wire, held, refuse, stream, text_of, whole, words
from tests.support.waiting import PATIENCE, until

SLOW = held([ROLE, *words("m", 1)], [*words("n", 2), FINISH, DONE])


def configuration(url: str, **more: Any) -> dict[str, Any]:
    return {
        "store": "sqlite",
        "providers": {"p": {"base_url": url, "any_model": True}},
        "resilience": without_breakers(),
        **more,
    }


@pytest.fixture(scope="module")
def box(module_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    config = configuration(module_upstream.url, server={"max_body": "64KiB"})
    with signalbox(config, tmp_path_factory.mktemp("box")) as running:
        yield running


@pytest.fixture
def upstream(module_upstream: Upstream) -> Upstream:
    module_upstream.clear()
    return module_upstream


def connected(url: str, **headers: str) -> ClientConnection:
    address = f"{url.replace('http', 'ws')}/v1/responses"
    return connect(address, additional_headers={"authorization": "Bearer key", **headers}, open_timeout=PATIENCE)


@pytest.fixture
def socket(box: Running) -> Iterator[ClientConnection]:
    with connected(box.url) as socket:
        yield socket


def send(socket: ClientConnection, **body: Any) -> None:
    socket.send(json.dumps({"type": "response.create", "model": "p/m", **body}))


def answer(socket: ClientConnection) -> list[Any]:
    """The messages of one answer."""
    events: list[Any] = []
    while not events or events[-1]["type"] not in (*LAST, "error"):
        events.append(json.loads(socket.recv(PATIENCE)))
    return events


def ask(socket: ClientConnection, **body: Any) -> list[Any]:
    send(socket, **body)
    return answer(socket)


def asked(upstream: Upstream) -> list[tuple[str, str]]:
    """Role and text of the messages of the next request that reaches the provider."""
    return [(message["role"], message["content"]) for message in upstream.next().json["messages"]]


def error_of(events: list[Any]) -> tuple[int, str, str | None]:
    [event] = events
    assert event["type"] == "error"
    return event["status"], event["error"]["code"], event["error"]["param"]


def test_a_turn_has_the_events_of_a_stream(socket: ClientConnection, upstream: Upstream, access_log: AccessLog) -> None:
    upstream.script("m", whole)
    response = verify(ask(socket, input="hi", client_metadata={"x": "y"}))
    again = verify(ask(socket, input="hi again", stream=True, stream_options={"include_obfuscation": False}))

    assert (response["status"], response["output"][0]["content"][0]["text"]) == ("completed", text_of("m"))
    assert again["id"] != response["id"]
    assert asked(upstream) == [("user", "hi")]
    for ended in (response, again):
        line = access_log.next()
        assert (line["id"], line["status"], line["outcome"]) == (ended["id"].replace("resp_", "req_"), 200, "ok")


def test_a_response_that_is_not_stored_is_continued_here_only(
    box: Running, socket: ClientConnection, upstream: Upstream, http: httpx.Client
) -> None:
    upstream.script("m", whole)
    first = verify(ask(socket, input="one", store=False, instructions="Be brief."))
    second = verify(ask(socket, input="two", store=False, previous_response_id=first["id"]))
    third = verify(ask(socket, input="three", previous_response_id=second["id"]))
    body = {"model": "p/m", "input": "four", "previous_response_id": third["id"]}
    fourth = http.post(f"{box.url}/v1/responses", json=body)
    with connected(box.url) as other:
        unknown = ask(other, input="x", store=False, previous_response_id=second["id"])

    said = ("assistant", text_of("m"))
    assert asked(upstream) == [("system", "Be brief."), ("user", "one")]
    assert asked(upstream) == [("user", "one"), said, ("user", "two")]
    three = [("user", "one"), said, ("user", "two"), said, ("user", "three")]
    assert asked(upstream) == three
    assert fourth.status_code == 200
    assert asked(upstream) == [*three, said, ("user", "four")]
    assert second["previous_response_id"] == first["id"]
    assert error_of(unknown) == (400, "previous_response_not_found", "previous_response_id")


def test_stored_and_other_responses_are_continued_in_turns(
    box: Running, socket: ClientConnection, upstream: Upstream
) -> None:
    upstream.script("m", whole)
    stored = verify(ask(socket, input="one"))
    passing = verify(ask(socket, input="two", store=False, previous_response_id=stored["id"]))
    item = {"type": "item_reference", "id": stored["output"][0]["id"]}
    ask(socket, input=[item, {"role": "user", "content": "three"}], previous_response_id=passing["id"])

    said = ("assistant", text_of("m"))
    upstream.next()
    assert asked(upstream) == [("user", "one"), said, ("user", "two")]
    twice = ("assistant", f"{said[1]}\n\n{said[1]}")  # messages that follow one another are one
    assert asked(upstream) == [("user", "one"), said, ("user", "two"), twice, ("user", "three")]


def test_without_a_store_a_connection_remembers(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("m", whole)
    with signalbox({**configuration(upstream.url), "store": "none"}, tmp_path) as box, connected(box.url) as socket:
        first = verify(ask(socket, input="one"))
        verify(ask(socket, input="two", previous_response_id=first["id"]))

    upstream.next()
    assert asked(upstream) == [("user", "one"), ("assistant", text_of("m")), ("user", "two")]


def test_a_call_that_fails_forgets_what_it_continued(socket: ClientConnection, upstream: Upstream) -> None:
    upstream.script("m", whole)
    upstream.script("cut", stream([ROLE, *words("x")], Wire.reset))
    orphan = [{"type": "function_call_output", "call_id": "call_nope", "output": "x"}]
    for failing in ({"input": orphan}, {"input": "x", "model": "p/cut"}):
        id = verify(ask(socket, input="one", store=False))["id"]
        failed = ask(socket, store=False, previous_response_id=id, **failing)
        again = ask(socket, store=False, previous_response_id=id, input="x")

        assert failed[-1]["type"] in ("error", "response.failed")
        assert error_of(again)[1] == "previous_response_not_found"


def test_an_input_is_prepared_without_an_answer(socket: ClientConnection, upstream: Upstream) -> None:
    upstream.script("m", whole)
    prepared = verify(ask(socket, input="long", store=False, generate=False))
    verify(ask(socket, input="short", store=False, previous_response_id=prepared["id"]))

    assert (prepared["status"], prepared["output"], prepared["store"]) == ("completed", [], False)
    assert asked(upstream) == [("user", "long"), ("user", "short")]
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("x", (400, "invalid_request_error", None)),
        ("[]", (400, "invalid_request_error", None)),
        ("{}", (400, "invalid_request_error", "type")),
        ('{"type": "response.cancel"}', (400, "invalid_request_error", "type")),
        ('{"type": "response.create"}', (400, "invalid_request_error", "model")),
        ('{"type": "response.create", "model": "p/m", "input": 5}', (400, "invalid_request_error", "input")),
        ('{"type": "response.create", "background": true}', (400, "invalid_request_error", "background")),
        ('{"type": "response.create", "stream_id": "1"}', (400, "invalid_request_error", "stream_id")),
        ('{"type": "response.create", "model": "none/x", "input": "x"}', (404, "model_not_found", "model")),
    ],
)
def test_an_error_leaves_the_connection_open(
    message: str, expected: tuple[int, str, str | None], socket: ClientConnection, upstream: Upstream
) -> None:
    upstream.script("m", whole)
    socket.send(message)

    assert error_of(answer(socket)) == expected
    assert verify(ask(socket, input="hi"))["status"] == "completed"


def test_an_upstreams_error_is_reported(socket: ClientConnection, upstream: Upstream) -> None:
    upstream.script("limited", refuse(429, "slow down"))

    assert error_of(ask(socket, input="hi", model="p/limited"))[0] == 429


def test_messages_wait_for_the_turn_before_them(socket: ClientConnection, upstream: Upstream) -> None:
    upstream.script("m", SLOW, whole)
    send(socket, input="one")
    first = upstream.next()
    send(socket, input="two")
    first.release()
    events = [answer(socket), answer(socket)]

    assert [verify(each)["output"][0]["content"][0]["text"] for each in events] == ["m0 n0 n1 ", text_of("m")]


def test_pings_are_answered_during_a_turn(socket: ClientConnection, upstream: Upstream) -> None:
    upstream.script("m", SLOW)
    send(socket, input="one")
    request = upstream.next()

    assert socket.ping().wait(PATIENCE)
    request.release()
    verify(answer(socket))


def test_a_client_that_leaves_ends_its_turn(box: Running, upstream: Upstream, access_log: AccessLog) -> None:
    upstream.script("m", SLOW)
    with connected(box.url) as socket:
        send(socket, input="one")
        request = upstream.next()
        until(lambda: json.loads(socket.recv(PATIENCE))["type"] == "response.output_text.delta")
    request.left()

    line = access_log.next()
    assert (line["status"], line["outcome"]) == (499, "client_closed")


def test_a_message_that_is_too_large_closes_the_connection(socket: ClientConnection) -> None:
    with pytest.raises(ConnectionClosed) as closed:
        ask(socket, input="x" * 70_000)

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


def test_too_many_messages_close_the_connection(socket: ClientConnection, upstream: Upstream) -> None:
    upstream.script("m", SLOW)
    for _ in range(18):
        send(socket, input="x")
    with pytest.raises(ConnectionClosed) as closed:
        list(iter(partial(socket.recv, PATIENCE), None))

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://elsewhere.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"host": "elsewhere.example"}, 403),
        ({"sec-websocket-version": "8"}, 426),
        ({"sec-websocket-key": "short"}, 400),
        ({"upgrade": "h2c"}, 426),
    ],
)
def test_a_wrong_handshake_is_rejected(headers: dict[str, str], status: int, box: Running, http: httpx.Client) -> None:
    right = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    if "host" in headers or "origin" in headers:
        right["sec-fetch-site"] = "cross-site" if "origin" in headers else "same-origin"
    rejected = http.get(f"{box.url}/v1/responses", headers=right | headers)

    assert rejected.status_code == status
    assert rejected.json()["error"]["type"] in ("invalid_request_error", "permission_error")


def test_a_request_that_is_no_handshake_is_rejected(box: Running, http: httpx.Client) -> None:
    rejected = http.get(f"{box.url}/v1/responses")

    assert (rejected.status_code, rejected.headers["allow"]) == (405, "POST")


def test_callers_are_identified_and_pages_are_allowed(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("m", whole)
    settings = {
        "auth": {"mode": "keys", "pepper": "p" * 40},
        "server": {"cors": {"origins": ["https://page.example"]}},
    }
    with signalbox(configuration(upstream.url, **settings), tmp_path) as box, pytest.raises(InvalidStatus) as refused:
        connected(box.url)
    (tmp_path / "open").mkdir()
    with (
        signalbox(configuration(upstream.url, server=settings["server"]), tmp_path / "open") as box,
        connected(box.url, origin="https://page.example") as socket,
    ):
        verify(ask(socket, input="hi"))

    assert refused.value.response.status_code == 401


def test_a_shutdown_ends_connections(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("m", SLOW)
    config = configuration(upstream.url, server={"drain": "100ms"})
    with (
        signalbox_process(config, tmp_path) as process,
        connected(process.url) as idle,
        connected(process.url) as busy,
    ):
        send(busy, input="one")
        upstream.next()
        process.popen.send_signal(signal.SIGTERM)
        events = answer(busy)
        for socket in (idle, busy):
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(PATIENCE)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
        code = process.popen.wait(PATIENCE)

    assert events[-1]["type"] == "response.failed"
    assert code == 0
