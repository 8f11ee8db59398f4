"""The server's protocol, without a socket; `tests/e2e/test_protocol.py` has the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from proxy.http.connection import WRITE_BUFFER
from proxy.http.exchange import Direct, Endpoint, Ids
from proxy.http.output import CYCLE
from proxy.http.protocol import SOON, protocol_class
from proxy.http.reading import Limits
from proxy.surfaces.table import SURFACES

LIMITS = Limits(max_body=100, body_silence=10.0, write_stall=10.0)
REQUEST = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"


class Transport(asyncio.Transport):
    high: int | None = None

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closing = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closing = True

    def write_eof(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 0


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer 200 without a body."""
    cycle = scope["extensions"][CYCLE]
    cycle.start(200, b"", 0)
    cycle.finish()


def made(app: Any = app, state: ServerState | None = None) -> tuple[Any, Transport]:
    """A protocol with a connection."""
    config = uvicorn.Config(app)
    config.load()
    protocol = protocol_class(10.0, 60.0)(config, state or ServerState(), {})
    transport = Transport()
    protocol.connection_made(transport)
    return protocol, transport


async def turns() -> None:
    """Let the event loop run what is ready, and what follows from it."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_answers_pause_while_the_client_leaves_much_unread() -> None:
    protocol, transport = made()

    protocol.connection_lost(None)

    assert transport.high == WRITE_BUFFER


async def test_the_next_request_waits_until_the_answer_is_taken() -> None:
    protocol, transport = made()

    protocol.data_received(REQUEST)
    await turns()
    protocol.pause_writing()
    protocol.data_received(REQUEST)
    await turns()
    before = transport.written.count(b"200 OK")
    protocol.resume_writing()
    await turns()
    protocol.connection_lost(None)

    assert (before, transport.written.count(b"200 OK")) == (1, 2)


async def test_a_reset_ends_the_keep_alive_timer() -> None:
    protocol, _ = made()

    protocol.data_received(REQUEST)
    await turns()
    timer = protocol.idle_timer
    protocol.connection_lost(ConnectionResetError())

    assert timer.cancelled()


async def test_date_is_that_of_the_response() -> None:
    state = ServerState()
    protocol, transport = made(state=state)

    for date in (b"Mon", b"Tue"):
        state.default_headers = [(b"date", date)]  # as uvicorn does each second
        protocol.data_received(REQUEST)
        await turns()
    protocol.connection_lost(None)

    assert [line for line in transport.written.split(b"\r\n") if line.startswith(b"date")] == [
        b"date: Mon",
        b"date: Tue",
    ]


async def test_absolute_target_without_a_path_is_the_root() -> None:
    paths: list[str] = []

    async def record(scope: Any, receive: Any, send: Any) -> None:
        paths.append(scope["path"])
        await app(scope, receive, send)

    protocol, transport = made(record)
    protocol.data_received(b"GET http://localhost HTTP/1.1\r\nhost: localhost\r\n\r\n")
    await asyncio.sleep(0)

    assert (paths, transport.written[:12]) == (["/"], b"HTTP/1.1 200")


class Seen:
    """An ASGI application, and an endpoint that needs none; both note what they get, and answer 200."""

    def __init__(self, hosts: set[str], headers: bytes = b"") -> None:
        endpoint = Endpoint(self, SURFACES["/v1/chat/completions"], LIMITS, Ids())
        self.direct = Direct({b"/call": endpoint}, hosts, headers=headers)
        self.requests: list[tuple[str, str, str, Mapping[str, str]]] = []

    async def run(self, arrival: Any) -> None:
        self.requests.append(("direct", arrival.path, arrival.query, arrival.headers))
        await arrival.read()
        await arrival.answer(200, b"", b"")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.requests.append(("asgi", scope["path"], scope["query_string"].decode(), headers))
        await app(scope, receive, send)


async def test_an_accepted_call_goes_to_its_endpoint_at_once() -> None:
    seen = Seen({"localhost"})
    protocol, transport = made(seen)
    head = b"POST /call?beta=true HTTP/1.1\r\nHost: localhost\r\nX-Tag:  a b\r\nContent-Length: 0\r\n\r\n"

    protocol.data_received(head)
    await turns()
    protocol.connection_lost(None)

    headers = {"host": "localhost", "x-tag": "a b", "content-length": "0"}
    assert (seen.requests, transport.written[:12]) == ([("direct", "/call", "beta=true", headers)], b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /call HTTP/1.1\r\nhost: localhost",
        b"POST /other HTTP/1.1\r\nhost: localhost",
        b"POST /call HTTP/1.1\r\nhost: unknown",
        b"POST /call HTTP/1.0",
        b"POST /call HTTP/1.1\r\nhost: localhost\r\norigin: http://a.example",
        b"POST /call HTTP/1.1\r\nhost: localhost\r\nSec-Fetch-Site: none",
        b"POST /call HTTP/1.1\r\nhost: localhost\r\nhost: localhost",
        b"POST /call HTTP/1.1\r\nhost: localhost\r\nHost: localhost",
        b"POST /call HTTP/1.1\r\nhost: localhost\r\nx-a: 1\r\nx-a: 2",
        b"POST /call?a#b HTTP/1.1\r\nhost: localhost",
        b"POST http://localhost/call HTTP/1.1\r\nhost: localhost",
    ],
)
async def test_other_requests_go_through_the_application(head: bytes) -> None:
    seen = Seen({"localhost"})
    protocol, _ = made(seen)

    protocol.data_received(head + b"\r\n\r\n")
    await turns()
    protocol.connection_lost(None)

    assert [request[0] for request in seen.requests] == ["asgi"]


@pytest.mark.parametrize("method", [b"GET", b"CONNECT"])
async def test_repeated_headers_reach_the_application_in_their_order(method: bytes) -> None:
    scopes: list[Any] = []

    async def record(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope["headers"])
        await app(scope, receive, send)

    protocol, _ = made(record)
    protocol.data_received(method + b" / HTTP/1.1\r\nHost: localhost\r\nX-A: 1\r\nx-b: 2\r\nx-a: 3\r\n\r\n")
    await turns()
    protocol.connection_lost(None)

    assert scopes == [[(b"host", b"localhost"), (b"x-a", b"1"), (b"x-b", b"2"), (b"x-a", b"3")]]


async def test_requests_of_a_connection_share_a_task() -> None:
    tasks: list[Any] = []

    async def record(scope: Any, receive: Any, send: Any) -> None:
        tasks.append(asyncio.current_task())
        await app(scope, receive, send)

    protocol, _ = made(record)
    for _ in range(3):
        protocol.data_received(REQUEST)
        await turns()
    protocol.connection_lost(None)
    await turns()

    assert (len(tasks), len(set(tasks)), tasks[0].done()) == (3, 1, True)


async def test_request_after_the_end_of_the_task_of_its_connection_gets_another() -> None:
    state = ServerState()
    protocol, transport = made(app, state)

    protocol.data_received(REQUEST)
    await turns()
    for task in list(state.tasks):
        task.cancel()
    await turns()
    protocol.data_received(REQUEST)
    await turns()
    protocol.connection_lost(None)

    assert transport.written.count(b"200 OK") == 2


async def test_handler_that_goes_on_delays_no_request() -> None:
    released = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)
        await released.wait()

    protocol, transport = made(slow)
    for _ in range(2):
        protocol.data_received(REQUEST)
        await turns()
    answered = transport.written.count(b"200 OK")
    released.set()
    await turns()
    protocol.connection_lost(None)

    assert answered == 2


async def test_response_that_does_not_begin_is_an_error() -> None:
    async def silent(scope: Any, receive: Any, send: Any) -> None:
        pass

    protocol, transport = made(silent)
    protocol.data_received(REQUEST)
    await turns()
    protocol.connection_lost(None)

    assert (transport.written[:12], transport.closing) == (b"HTTP/1.1 500", True)


async def test_direct_response_has_the_headers_of_all_responses() -> None:
    protocol, transport = made(Seen({"localhost"}, b"vary: Origin\r\n"))

    protocol.data_received(b"POST /call HTTP/1.1\r\nhost: localhost\r\n\r\n")
    await turns()
    protocol.connection_lost(None)

    assert b"\r\nvary: Origin\r\n" in transport.written


CALL = b"POST /call HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\r\n"


async def test_call_waits_for_a_small_body() -> None:
    seen = Seen({"localhost"})
    protocol, transport = made(seen)

    protocol.data_received(CALL)
    await turns()
    before = len(seen.requests)
    protocol.data_received(b"bo")
    protocol.data_received(b"dyPOST /call")
    await turns()
    protocol.connection_lost(None)

    assert (before, len(seen.requests), transport.written.count(b"200 OK")) == (0, 1, 1)


@pytest.mark.virtual_time
async def test_call_does_not_wait_long_for_its_body() -> None:
    seen = Seen({"localhost"})
    protocol, _ = made(seen)

    protocol.data_received(CALL)
    await asyncio.sleep(2 * SOON)
    protocol.connection_lost(None)

    assert len(seen.requests) == 1


@pytest.mark.parametrize("more", [b"expect: 100-continue\r\n", b"transfer-encoding: chunked\r\n"])
async def test_call_with_a_body_of_its_own_time_does_not_wait(more: bytes) -> None:
    seen = Seen({"localhost"})
    protocol, _ = made(seen)
    length = b"" if b"chunked" in more else b"content-length: 4\r\n"

    protocol.data_received(b"POST /call HTTP/1.1\r\nhost: localhost\r\n" + length + more + b"\r\n")
    await turns()
    protocol.connection_lost(None)

    assert len(seen.requests) == 1


async def test_call_whose_client_leaves_before_its_body_is_handled() -> None:
    seen = Seen({"localhost"})
    protocol, _ = made(seen)

    protocol.data_received(CALL)
    protocol.connection_lost(None)
    await turns()

    assert len(seen.requests) == 1


async def test_error_in_a_body_after_its_response_is_no_second_response() -> None:
    protocol, transport = made()

    protocol.data_received(b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n")
    await turns()
    protocol.data_received(b"x\r\n")
    protocol.connection_lost(None)

    assert (transport.written.count(b"HTTP/1.1"), transport.closing) == (1, True)


async def test_body_that_was_not_read_is_released_after_the_response() -> None:
    cycles: list[Any] = []

    async def record(scope: Any, receive: Any, send: Any) -> None:
        cycles.append(scope["extensions"][CYCLE])
        before.append(bytes(cycles[0].body))
        await app(scope, receive, send)

    before: list[bytes] = []
    protocol, _ = made(record)
    protocol.data_received(b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\r\nbody")
    await turns()

    assert (before, cycles[0].body) == ([b"body"], b"")
    protocol.connection_lost(None)
