"""Streams that have no content for long: opened by a comment where that is configured, and honest afterwards."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import upstreams
from tests.support.servers import Running, signalbox, without_breakers
from tests.support.upstreams import DONE, FINISH, ROLE, Script, Upstream, Wire, plain, stream, words
from tests.support.waiting import PATIENCE

COMMENT = b": keep-alive\n\n"
WHOLE = [ROLE, *words("a"), FINISH, DONE]
BODY = {"messages": [{"role": "user", "content": "hi"}], "stream": True}


class Held:
    """A script that does nothing until it may."""

    def __init__(self, script: Script) -> None:
        self._may = threading.Event()
        self._script = script

    def go_on(self) -> None:
        self._may.set()

    async def __call__(self, wire: Wire) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self._may.wait, PATIENCE)
        await self._script(wire)


def configuration(url: str, early_comments: str) -> dict[str, Any]:
    return {
        "store": "none",
        "server": {"early_comments": early_comments},
        "providers": {name: {"base_url": url, "any_model": True} for name in "pq"},
        "routing": {"scenarios": {"both": ["p/a", "q/good"]}},
        "resilience": without_breakers(same_target=0),
    }


@pytest.fixture(scope="module")
def box(module_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with signalbox(configuration(module_upstream.url, "50ms"), tmp_path_factory.mktemp("box")) as running:
        yield running


@pytest.fixture
def upstream(module_upstream: Upstream) -> Upstream:
    module_upstream.clear()
    return module_upstream


@contextmanager
def asked(box: Running, model: str, path: str = "/v1/chat/completions", **more: Any) -> Iterator[httpx.Response]:
    """An answer whose head has come."""
    body = {"model": model, **BODY, **more}
    with (
        httpx.Client(timeout=PATIENCE, trust_env=False) as http,
        http.stream("POST", f"{box.url}{path}", json=body) as answer,
    ):
        yield answer


def events(content: bytes) -> bytes:
    """What is no comment."""
    assert content.startswith(COMMENT)
    return content.replace(COMMENT, b"")


def test_a_silent_stream_is_opened_and_gets_its_content(box: Running, upstream: Upstream) -> None:
    held = Held(stream(WHOLE))
    upstream.script("a", held)

    with asked(box, "p/a") as answer:
        pieces = answer.iter_raw()
        opened = next(pieces) + next(pieces)  # and comments go on
        held.go_on()
        content = opened + b"".join(pieces)

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-router-id"].startswith("req_")
    assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-cache", "no")
    assert opened.count(COMMENT) >= 2
    assert events(content) == b"".join(WHOLE)


FAILURES: dict[str, tuple[Script, str]] = {
    "an error": (upstreams.refuse(500), "upstream_error"),
    "a rate limit": (upstreams.refuse(429), "rate_limit_exceeded"),
    "an error event": (stream([ROLE, upstreams.event(upstreams.error("no"))]), "upstream_error"),
    "a page": (plain(b"<html>", content_type="text/html"), "upstream_error"),
    "an empty stream": (stream([]), "upstream_error"),
}


@pytest.mark.parametrize(("script", "code"), FAILURES.values(), ids=FAILURES.keys())
def test_a_failure_after_that_is_an_error_event(box: Running, upstream: Upstream, script: Script, code: str) -> None:
    held = Held(script)
    upstream.script("a", held)

    with asked(box, "p/a") as answer:
        pieces = answer.iter_raw()
        opened = next(pieces)
        held.go_on()
        content = events(opened + b"".join(pieces))

    assert answer.status_code == 200
    assert content.startswith(b"data: ")
    assert content.count(b"data: ") == 1
    assert json.loads(content.removeprefix(b"data: "))["error"]["code"] == code


def test_a_failing_target_is_still_replaced_unseen(box: Running, upstream: Upstream) -> None:
    held = Held(upstreams.refuse(500))
    upstream.script("a", held)

    with asked(box, "scenario/both") as answer:
        pieces = answer.iter_raw()
        opened = next(pieces)
        held.go_on()
        content = events(opened + b"".join(pieces))

    assert b"good2" in content
    assert content.endswith(DONE)
    assert b"error" not in content
    assert upstream.models == ["a", "good"]


@pytest.mark.parametrize(("model", "status"), [("p/a", 502), ("nothing", 404)])
def test_a_failure_before_that_keeps_its_status(
    http: httpx.Client, upstream: Upstream, tmp_path: Path, model: str, status: int
) -> None:
    upstream.script("a", upstreams.refuse(500))

    with signalbox(configuration(upstream.url, "1h"), tmp_path) as patient:
        answer = http.post(f"{patient.url}/v1/chat/completions", json={"model": model, **BODY})

    assert answer.status_code == status


def test_an_answer_that_is_no_stream_is_not_opened(http: httpx.Client, box: Running, upstream: Upstream) -> None:
    held = Held(plain(json.dumps(upstreams.completion("whole")).encode()))
    upstream.script("a", held)

    with ThreadPoolExecutor(1) as pool:
        body = {"model": "p/a", **BODY, "stream": False}
        answer: Future[httpx.Response] = pool.submit(http.post, f"{box.url}/v1/chat/completions", json=body)
        with asked(box, "p/a") as other:
            next(other.iter_raw())  # by now it would have been opened
        held.go_on()

    assert answer.result().headers["content-type"] == "application/json"
