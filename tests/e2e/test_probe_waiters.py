"""Those who wait for what a half-open breaker's probe shows: a client that leaves meanwhile leaves nothing behind."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import upstreams
from tests.support.boxes import Box, boxed
from tests.support.clocks import ServerClock
from tests.support.upstreams import Request, Upstream, Wire, refuse
from tests.support.waiting import PATIENCE, until

STREAMS = pytest.mark.parametrize("streams", [True, False], ids=["stream", "plain"])


def configuration(url: str, **limits: int) -> dict[str, Any]:
    """One target, which is the last way there is; only calls probe it."""
    return {
        "auth": {"admin_token": "admin"},
        "providers": {"up": {"base_url": url}},
        "models": [{"id": "up/a", "limits": limits}],
        "resilience": {
            "breaker": {"consecutive": 1},
            "retry": {"same_target": 0},
            "queue": {"max_wait": "60s"},
            "probes": {"enabled": False},
        },
    }


class Probed:
    """A breaker that is half-open, the call that probes it and that the upstream holds, and the box they are in."""

    def __init__(self, box: Box, clock: ServerClock, probe: Future[httpx.Response], request: Request) -> None:
        self.box = box
        self.clock = clock
        self.probe = probe
        self.request = request

    def state(self) -> tuple[int, int]:
        """How many wait, and how many calls are in flight."""
        return self.box.depth(), self.box.metric("signalbox_inflight_requests")


@contextmanager
def probed(folder: Path, upstream: Upstream, outcome: upstreams.Script, **limits: int) -> Iterator[Probed]:
    """A probe that has `outcome` once it is released; what comes after it is answered at once."""
    upstream.script("a", refuse(500), upstreams.then(Wire.hold, outcome), upstreams.whole)
    clock = ServerClock()
    with boxed(folder, configuration(upstream.url, **limits), clock) as box:
        box.ask("up/a")
        upstream.next()
        clock.pass_(61)
        probe = box.begin("up/a")
        yield Probed(box, clock, probe, upstream.next())


@contextmanager
def client(box: Box, *, streams: bool) -> Iterator[socket.socket]:
    """A client that has sent its call, and leaves at the end."""
    body = json.dumps({"model": "up/a", "messages": [{"role": "user", "content": "hi"}], "stream": streams}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    url = httpx.URL(box.url)
    with socket.create_connection((url.host, url.port), timeout=PATIENCE) as connection:
        connection.sendall(head + body)
        yield connection


@STREAMS
def test_a_disconnect_while_waiting_for_a_probe_makes_no_attempt(
    upstream: Upstream, tmp_path: Path, access_log: Any, *, streams: bool
) -> None:
    with probed(tmp_path, upstream, upstreams.whole) as half_open:
        box = half_open.box
        with client(box, streams=streams):
            until(lambda: half_open.state() == (1, 2))
            queues = box.admin("queues")
        until(lambda: half_open.state() == (0, 1))
        still = box.admin("queues")
        asked = len(upstream.requests)
        half_open.request.release()
        answer = half_open.probe.result(PATIENCE)
        lines = [access_log.next() for _ in range(3)]
        left = box.metric("signalbox_inflight_requests")
        after = box.ask("up/a", stream=streams)

    assert ([row["waiting"] for row in queues], still) == ([1], [])
    assert asked == 2  # what opened the breaker, and the probe
    assert [(line["outcome"], line["status"], len(line["attempts"])) for line in lines] == [
        ("error", 502, 1),
        ("client_closed", 499, 0),
        ("ok", 200, 1),
    ]
    assert (answer.status_code, after.status_code, left) == (200, 200, 0)
    assert len(upstream.requests) == 3


@STREAMS
def test_waiters_are_served_after_a_successful_probe(upstream: Upstream, tmp_path: Path, *, streams: bool) -> None:
    with probed(tmp_path, upstream, upstreams.whole) as half_open:
        box = half_open.box
        with ExitStack() as leaving:
            for waiting in (1, 2):
                leaving.enter_context(client(box, streams=streams))
                until(lambda waiting=waiting: box.depth() == waiting)  # type: ignore[misc]
            stays = [box.begin("up/a", stream=streams) for _ in range(2)]
            until(lambda: box.depth() == 4)
        until(lambda: half_open.state() == (2, 3))
        half_open.request.release()
        answers = [each.result(PATIENCE) for each in (half_open.probe, *stays)]
        until(lambda: half_open.state() == (0, 0))

    assert [answer.status_code for answer in answers] == [200] * 3
    assert len(upstream.requests) == 4


@STREAMS
def test_waiters_are_rejected_after_a_failed_probe(upstream: Upstream, tmp_path: Path, *, streams: bool) -> None:
    with probed(tmp_path, upstream, refuse(500)) as half_open:
        box = half_open.box
        with client(box, streams=streams):
            until(lambda: box.depth() == 1)
            stays = box.begin("up/a", stream=streams)
            until(lambda: box.depth() == 2)
        until(lambda: half_open.state() == (1, 2))
        half_open.request.release()
        failed, refused = half_open.probe.result(PATIENCE), stays.result(PATIENCE)
        until(lambda: half_open.state() == (0, 0))

    assert failed.status_code == 502
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_candidate_available")
    assert len(upstream.requests) == 2


def test_the_probe_itself_leaves_and_the_next_in_line_probes(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", refuse(500), upstreams.stall, upstreams.whole)
    clock = ServerClock()

    with boxed(tmp_path, configuration(upstream.url), clock) as box:
        box.ask("up/a")
        upstream.next()
        clock.pass_(61)
        with client(box, streams=True):
            probe = upstream.next()
            waiting = [box.begin("up/a") for _ in range(3)]
            until(lambda: box.depth() == 3)
            asked = len(upstream.requests)
        probe.left()
        answers = [each.result(PATIENCE) for each in waiting]
        breakers = box.breakers()

    assert asked == 2
    assert [answer.status_code for answer in answers] == [200] * 3
    assert breakers == {}
    assert len(upstream.requests) == 5


def test_the_place_of_who_left_is_nobodys_under_a_limit(upstream: Upstream, tmp_path: Path) -> None:
    with probed(tmp_path, upstream, upstreams.whole, rpm=3) as half_open:
        box = half_open.box
        with client(box, streams=False):
            until(lambda: box.depth() == 1)
        until(lambda: half_open.state() == (0, 1))
        half_open.request.release()
        half_open.probe.result(PATIENCE)
        [row] = box.admin("limits")
        statuses = [box.ask("up/a", router={"max_wait_seconds": 0}).status_code for _ in range(3)]

    assert (row["kind"], row["used"]) == ("rpm", 1)  # the probe alone: what opened the breaker is a minute old
    assert statuses == [200, 200, 429]
