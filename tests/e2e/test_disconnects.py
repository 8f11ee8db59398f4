"""The client leaves, at any moment: the upstream's connection is closed and the call settled, once.

How long the upstream took to see it is told as a property of each test (`--junit-xml`) and never decides.
"""

from __future__ import annotations

import json
import random
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest

from proxy.app import Parts
from proxy.core.clock import SystemClock
from tests.support import upstreams
from tests.support.boxes import moved_by, patient_client
from tests.support.clocks import ServerClock
from tests.support.servers import Running, signalbox
from tests.support.upstreams import ROLE, Script, Upstream, Wire, plain, stream, words
from tests.support.waiting import PATIENCE, until

TRIALS = 5


class LongSleeps(SystemClock):
    """Real time, which tells when somebody begins to sleep for longer than any background task does."""

    def __init__(self) -> None:
        self.begun = threading.Event()

    async def sleep(self, seconds: float) -> None:
        if seconds > 60:
            self.begun.set()
        await super().sleep(seconds)


CONTENT = words("half")
ANSWER = json.dumps(upstreams.completion("never read")).encode()


def configuration(url: str, **resilience: Any) -> dict[str, Any]:
    """One provider, any model, and breakers that open at the first failure."""
    return {
        "store": "none",
        "auth": {"admin_token": "admin"},
        "providers": {"up": {"base_url": url, "any_model": True}, "good": {"base_url": url, "any_model": True}},
        "models": [{"id": "up/a"}, {"id": "good/good"}],
        "routing": {"scenarios": {"both": ["up/a", "good/good"]}},
        "resilience": {"breaker": {"consecutive": 1}, "probes": {"enabled": False}, **resilience},
    }


@pytest.fixture(scope="module")
def box(module_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with signalbox(configuration(module_upstream.url), tmp_path_factory.mktemp("box")) as running:
        yield running


@pytest.fixture
def upstream(module_upstream: Upstream) -> Upstream:
    module_upstream.clear()
    return module_upstream


def request(model: str, *, streams: bool, missing: int = 0, content: str = "hi") -> bytes:
    """A request as bytes; with `missing` its body stops that far from its end."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": content}], "stream": streams}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n"
    return head.encode() + b"content-type: application/json\r\n\r\n" + body[: len(body) - missing]


@contextmanager
def client(box: Running, data: bytes) -> Iterator[socket.socket]:
    """A client that has sent `data`; it leaves at the end."""
    url = httpx.URL(box.url)
    with socket.create_connection((url.host, url.port), timeout=PATIENCE) as connection:
        connection.sendall(data)
        yield connection


def read_until(connection: socket.socket, text: bytes) -> None:
    """Read until `text` has come."""
    seen = b""
    while text not in seen:
        piece = connection.recv(65536)
        assert piece, f"the answer ended without {text!r}: {seen!r}"
        seen += piece


def metric(http: httpx.Client, box: Running, pattern: str) -> float:
    """The sum of the samples whose name and labels match."""
    lines = http.get(f"{box.url}/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if re.match(pattern, line))


def closed_calls(http: httpx.Client, box: Running) -> float:
    return metric(http, box, r'signalbox_requests_total\{.*status="499"')


def assert_settled_once(http: httpx.Client, box: Running, access_log: Any, before: float) -> dict[str, Any]:
    """One line and one count for the call that was left, and nothing in flight; the line."""
    line: dict[str, Any] = access_log.next()
    assert (line["status"], line["outcome"]) == (499, "client_closed")
    assert closed_calls(http, box) == before + 1
    assert metric(http, box, "signalbox_inflight_requests ") == 0
    assert access_log.empty
    return line


async def stopped(wire: Wire) -> None:
    """The head, the role, half an answer, and then silence."""
    await wire.head()
    for data in [ROLE, *CONTENT]:
        await wire.send(data)
    await wire.stall()


# The moment, the upstream's script, whether the client streams, and what it has read when it leaves.
MOMENTS: dict[str, tuple[Script, bool, bytes | None]] = {
    "before the head, stream": (upstreams.stall, True, None),
    "before the head, plain": (upstreams.stall, False, None),
    "after the head, stream": (stream([], Wire.stall), True, None),
    "after the role, stream": (stream([ROLE], Wire.stall), True, None),
    "in the body, plain": (plain(ANSWER[:40], missing=len(ANSWER) - 40, then=Wire.stall), False, None),
    "in mid-stream": (stopped, True, b"half2"),
    "while events pour": (upstreams.endless(words("half", 1)[0]), True, b"half0"),
}


@pytest.mark.parametrize(("script", "streams", "read"), MOMENTS.values(), ids=MOMENTS.keys())
def test_a_disconnect_cancels_the_upstream_and_settles_once(
    http: httpx.Client,
    box: Running,
    upstream: Upstream,
    access_log: Any,
    report: Callable[[str, object], None],
    script: Script,
    streams: bool,
    read: bytes | None,
) -> None:
    upstream.script("a", script)
    delays = []

    for _ in range(TRIALS):
        before = closed_calls(http, box)
        with client(box, request("up/a", streams=streams)) as connection:
            arrived = upstream.next()
            if read is not None:
                read_until(connection, read)
            left = SystemClock().monotonic()
        delays.append(round((arrived.left() - left) * 1000, 1))
        line = assert_settled_once(http, box, access_log, before)
        assert [attempt["outcome"] for attempt in line["attempts"]] == ["cancelled"]

    assert len(upstream.requests) == TRIALS
    report("upstream_saw_the_close_after_ms", delays)


@pytest.mark.parametrize("size", [70_000, 400_000, 2_000_000])
def test_a_disconnect_after_a_large_request_is_noticed(
    http: httpx.Client, box: Running, upstream: Upstream, access_log: Any, size: int
) -> None:
    upstream.script("a", upstreams.stall)
    before = closed_calls(http, box)

    with client(box, request("up/a", streams=False, content="x" * size)):
        arrived = upstream.next()
    arrived.left()

    assert_settled_once(http, box, access_log, before)


def test_a_disconnect_during_the_body_makes_no_attempt(
    http: httpx.Client, box: Running, upstream: Upstream, access_log: Any
) -> None:
    before = closed_calls(http, box)

    with client(box, request("up/a", streams=True, missing=10)):
        pass

    line = assert_settled_once(http, box, access_log, before)
    assert line["attempts"] == []
    assert upstream.requests == []


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "plain"])
def test_a_client_that_leaves_while_we_connect_is_settled_once(
    http: httpx.Client, tmp_path: Any, access_log: Any, *, streams: bool
) -> None:
    with ExitStack() as stack:
        config = configuration(stack.enter_context(upstreams.blackhole()))
        config["providers"]["up"]["timeouts"] = {"connect": "1h"}
        box = stack.enter_context(signalbox(config, tmp_path))

        with client(box, request("up/a", streams=streams)):
            until(lambda: metric(http, box, "signalbox_inflight_requests ") == 1)

        line = assert_settled_once(http, box, access_log, 0)

    assert [attempt["outcome"] for attempt in line["attempts"]] == ["cancelled"]


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "plain"])
def test_a_client_that_leaves_between_two_tries_ends_them(
    http: httpx.Client, upstream: Upstream, tmp_path: Any, access_log: Any, *, streams: bool
) -> None:
    config = configuration(upstream.url, retry={"backoff": "1h", "max_backoff": "1h"})
    config["resilience"]["breaker"] = {"consecutive": 100}
    upstream.script("a", upstreams.refuse(500))

    clock = LongSleeps()

    with signalbox(config, tmp_path, parts=Parts(clock=clock, rng=random.Random(1))) as box:
        with client(box, request("up/a", streams=streams)):
            assert clock.begun.wait(PATIENCE)

        line = assert_settled_once(http, box, access_log, 0)

    assert [attempt["outcome"] for attempt in line["attempts"]] == ["server_error"]
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "plain"])
def test_a_probe_whose_client_leaves_is_given_back(
    upstream: Upstream, tmp_path: Any, access_log: Any, *, streams: bool
) -> None:
    clock = ServerClock()
    upstream.script("a", upstreams.refuse(500), upstreams.stall, upstreams.whole)
    chat = {"model": "scenario/both", "messages": [{"role": "user", "content": "hi"}], "stream": streams}

    with (
        signalbox(configuration(upstream.url), tmp_path, parts=moved_by(clock)) as box,
        patient_client(keeps_connections=False) as http,
    ):
        opened = http.post(f"{box.url}/v1/chat/completions", json=chat)
        clock.pass_(61)
        while upstream.next().model != "good":
            pass
        with client(box, request("scenario/both", streams=streams)):
            probe = upstream.next()
        probe.left()
        access_log.next()
        assert access_log.next()["outcome"] == "client_closed"
        answers = [http.post(f"{box.url}/v1/chat/completions", json=chat) for _ in range(2)]

    assert probe.model == "a"
    assert opened.headers["x-router-provider"] == "good"
    assert [answer.headers["x-router-provider"] for answer in answers] == ["up", "up"]


def test_a_client_that_leaves_does_not_count_against_the_breaker(
    http: httpx.Client, box: Running, upstream: Upstream, access_log: Any
) -> None:
    upstream.script("a", stopped)

    for _ in range(3):
        with client(box, request("up/a", streams=True)) as connection:
            read_until(connection, b"half2")
        access_log.next()

    rows = http.get(f"{box.url}/admin/breakers", headers={"authorization": "Bearer admin"}).json()["data"]
    assert [row for row in rows if row["state"] != "closed"] == []
