"""SIGTERM, to a real process: readiness off, streams finish, what is left ends with an error event, exit code 0."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.support import upstreams
from tests.support.servers import Process, signalbox_process
from tests.support.upstreams import DONE, FINISH, ROLE, Upstream, words
from tests.support.waiting import PATIENCE, until

MESSAGES: Any = [{"role": "user", "content": "hi"}]
FIRST, REST = words("w")[:1], words("w")[1:]
SLOW = upstreams.held([ROLE, *FIRST], [*REST, FINISH, DONE])


@contextmanager
def serving(upstream: Upstream, folder: Path, drain: str) -> Iterator[tuple[Process, openai.OpenAI]]:
    """A process in front of the upstream, and an SDK for it."""
    config = {
        "store": "none",
        "server": {"drain": drain},
        "providers": {"up": {"base_url": upstream.url, "any_model": True}},
    }
    with (
        signalbox_process(config, folder) as process,
        openai.OpenAI(base_url=f"{process.url}/v1", api_key="sb", max_retries=0, timeout=PATIENCE) as client,
    ):
        yield process, client


def begun(client: openai.OpenAI) -> tuple[Any, list[str]]:
    """Return a stream that has sent its first word, and what it has sent."""
    stream = client.chat.completions.create(model="up/slow", messages=MESSAGES, stream=True)
    received: list[str] = []
    while not "".join(received):
        received.append(next(stream).choices[0].delta.content or "")
    return stream, received


def finished(stream: Any, received: list[str]) -> str:
    """Return the whole text, after reading the rest of the stream."""
    for part in stream:
        received += [choice.delta.content or "" for choice in part.choices]
    return "".join(received)


def terminate(http: httpx.Client, process: Process) -> httpx.Response:
    """Send SIGTERM, and give the first answer of a readiness probe that is not 200."""
    process.popen.send_signal(signal.SIGTERM)
    url, headers = f"{process.url}/readyz", {"connection": "close"}
    return until(lambda: None if (answer := http.get(url, headers=headers)).is_success else answer)


def calls(process: Process) -> list[dict[str, Any]]:
    """The access lines."""
    lines = [json.loads(line) for line in process.log.read_text().splitlines()]
    return [line for line in lines if line["event"] == "call"]


def test_a_stream_finishes_while_new_calls_are_refused(http: httpx.Client, upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("slow", SLOW)

    with serving(upstream, tmp_path, "1h") as (process, client):
        stream, received = begun(client)
        ready = terminate(http, process)
        with pytest.raises(openai.InternalServerError) as refused:
            client.chat.completions.create(model="up/other", messages=MESSAGES)
        alive = http.get(f"{process.url}/livez", headers={"connection": "close"})
        upstream.requests[0].release()
        text = finished(stream, received)
        code = process.popen.wait(PATIENCE)

    assert (ready.status_code, ready.json()["status"]) == (503, "draining")
    assert (refused.value.status_code, refused.value.code) == (503, "draining")
    assert int(refused.value.response.headers["retry-after"]) >= 0
    assert alive.status_code == 200
    assert text == upstreams.text_of("w")
    assert code == 0
    assert upstream.models == ["slow"]
    assert sorted((line["status"], line["outcome"]) for line in calls(process)) == [(200, "ok"), (503, "error")]


def test_an_answer_that_is_not_streamed_finishes_too(http: httpx.Client, upstream: Upstream, tmp_path: Path) -> None:
    body = json.dumps(upstreams.completion("whole")).encode()
    upstream.script("slow", upstreams.held_plain(body))

    with serving(upstream, tmp_path, "1h") as (process, _):
        with ThreadPoolExecutor(1) as pool:
            chat = {"model": "up/slow", "messages": MESSAGES}
            answer = pool.submit(httpx.post, f"{process.url}/v1/chat/completions", json=chat, timeout=PATIENCE)
            request = upstream.next()
            terminate(http, process)
            request.release()
            got = answer.result(PATIENCE)
        code = process.popen.wait(PATIENCE)

    assert got.json() == json.loads(body)
    assert code == 0


def test_a_stream_longer_than_the_drain_ends_with_an_error(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("slow", SLOW)

    with serving(upstream, tmp_path, "200ms") as (process, client):
        stream, received = begun(client)
        process.popen.send_signal(signal.SIGTERM)
        with pytest.raises(openai.APIError) as raised:
            finished(stream, received)
        code = process.popen.wait(PATIENCE)

    assert raised.value.code == "draining"
    assert "".join(received) == "w0 "
    assert upstream.requests[0].left() > 0
    assert code == 0
    [line] = calls(process)
    assert (line["status"], line["outcome"]) == (200, "draining")


def test_an_interrupted_stream_has_whole_events_and_no_done(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("slow", SLOW)
    chat = {"model": "up/slow", "messages": MESSAGES, "stream": True}

    with (
        serving(upstream, tmp_path, "200ms") as (process, _),
        httpx.stream("POST", f"{process.url}/v1/chat/completions", json=chat, timeout=PATIENCE) as answer,
    ):
        pieces = answer.iter_bytes()
        got = b""
        while FIRST[-1] not in got:
            got += next(pieces)
        process.popen.send_signal(signal.SIGTERM)
        got += b"".join(pieces)

    events = got.decode().split("\n\n")
    assert events.pop() == ""
    assert json.loads(events.pop().removeprefix("data: "))["error"]["code"] == "draining"
    assert "".join(f"{event}\n\n" for event in events).encode() == b"".join([ROLE, *FIRST])


def test_a_call_waiting_for_its_upstream_is_ended_by_the_drain(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("slow", upstreams.stall)
    chat = {"model": "up/slow", "messages": MESSAGES}

    with serving(upstream, tmp_path, "200ms") as (process, _):
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(httpx.post, f"{process.url}/v1/chat/completions", json=chat, timeout=PATIENCE)
            upstream.next()
            process.popen.send_signal(signal.SIGTERM)
            got = answer.result(PATIENCE)
        code = process.popen.wait(PATIENCE)

    assert (got.status_code, got.json()["error"]["code"]) == (503, "draining")
    assert int(got.headers["retry-after"]) >= 0
    assert code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_process_leaves_at_once(upstream: Upstream, tmp_path: Path, number: signal.Signals) -> None:
    with serving(upstream, tmp_path, "1h") as (process, client):
        client.chat.completions.create(model="up/warm", messages=MESSAGES)  # leaves an idle connection behind
        process.popen.send_signal(number)
        code = process.popen.wait(PATIENCE)

    assert code == 0


def test_a_second_signal_does_not_wait(http: httpx.Client, upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("slow", SLOW)

    with serving(upstream, tmp_path, "1h") as (process, client):
        stream, received = begun(client)
        terminate(http, process)
        process.popen.send_signal(signal.SIGTERM)
        with pytest.raises((openai.APIError, httpx.HTTPError)):
            finished(stream, received)
        code = process.popen.wait(PATIENCE)

    assert "".join(received) == "w0 "
    assert code == 0
