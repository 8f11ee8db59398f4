"""The edges of the attempt loop and the relay: unusual framing, large events, clients that do not read, accounts."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import httpx
import openai
import pytest

from tests.support import upstreams
from tests.support.servers import IDLE, Running, signalbox, signalbox_process, without_breakers
from tests.support.upstreams import DONE, FINISH, ROLE, Script, Upstream, Wire, chunk, event, plain, raw, stream, words
from tests.support.waiting import PATIENCE, until

MESSAGES: Any = [{"role": "user", "content": "hi"}]
MIB = 1024 * 1024
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
WHOLE = [ROLE, *words("a"), FINISH, DONE]
TOOL = chunk({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "f"}}]})


def configuration(url: str, **server: Any) -> dict[str, Any]:
    return {
        "store": "none",
        "server": server,
        "providers": {"p": {"base_url": url, "any_model": True}, "q": {"base_url": url, "any_model": True}},
        "models": [{"id": "p/a"}, {"id": "q/good"}],
        "routing": {"scenarios": {"both": ["p/a", "q/good"]}},
        "resilience": without_breakers(),
    }


@pytest.fixture(scope="module")
def box(module_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with signalbox(configuration(module_upstream.url), tmp_path_factory.mktemp("box")) as running:
        yield running


@pytest.fixture
def upstream(module_upstream: Upstream) -> Upstream:
    module_upstream.clear()
    return module_upstream


def ask(http: httpx.Client, box: Running, model: str, *, streams: bool = True, **more: Any) -> httpx.Response:
    body = {"model": model, "messages": MESSAGES, "stream": streams, **more}
    return http.post(f"{box.url}/v1/chat/completions", json=body)


def last_error(answer: httpx.Response) -> dict[str, Any]:
    """The error event at the end of a stream."""
    end = answer.content.rstrip().rsplit(b"\n\n", 1)[-1]
    found: dict[str, Any] = json.loads(end.removeprefix(b"data: "))["error"]
    return found


WELL_FRAMED: dict[str, Script] = {
    "early hints before the head": raw(
        b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + HEAD + b"".join(WHOLE),
    ),
    "a body that ends with the connection": raw(HEAD + b"".join(WHOLE)),
    "HTTP/1.0": raw(HEAD.replace(b"1.1", b"1.0") + b"".join(WHOLE)),
    "a length instead of chunks": plain(b"".join(WHOLE), content_type="text/event-stream"),
    "no content type": raw(b"HTTP/1.1 200 OK\r\n\r\n" + b"".join(WHOLE)),
    "trailers": upstreams.then(stream(WHOLE, upstreams.nothing), raw(b"0\r\nx-checksum: 1\r\n\r\n")),
}


@pytest.mark.parametrize("script", WELL_FRAMED.values(), ids=WELL_FRAMED.keys())
def test_any_sound_framing_is_taken(http: httpx.Client, box: Running, upstream: Upstream, script: Script) -> None:
    upstream.script("a", script)

    answer = ask(http, box, "p/a")

    assert (answer.status_code, answer.content) == (200, b"".join(WHOLE))
    assert len(upstream.requests) == 1


CUT_SHORT: dict[str, list[bytes]] = {
    "one choice of two": [
        ROLE,
        *words("a"),
        FINISH,
        event({"choices": [{"index": 1, "delta": {"content": "b"}, "finish_reason": None}]}),
    ],
    "a tool call": [ROLE, TOOL],
    "reasoning": [ROLE, chunk({"reasoning_content": "Let me see"})],
    "a refusal": [ROLE, chunk({"refusal": "I"})],
}


@pytest.mark.parametrize("events", CUT_SHORT.values(), ids=CUT_SHORT.keys())
@pytest.mark.parametrize("then", [Wire.end, Wire.eof, Wire.reset], ids=["end", "eof", "reset"])
def test_a_started_answer_is_neither_retried_nor_completed(
    http: httpx.Client, box: Running, upstream: Upstream, events: list[bytes], then: Script
) -> None:
    upstream.script("a", stream(events, then))

    answer = ask(http, box, "scenario/both")

    assert answer.content.startswith(b"".join(events))
    assert last_error(answer)["code"] == "upstream_error"
    assert b"[DONE]" not in answer.content
    assert upstream.models == ["a"]


def test_a_body_that_ends_with_the_connection_may_not_end_early(
    http: httpx.Client, box: Running, upstream: Upstream
) -> None:
    upstream.script("a", raw(HEAD + ROLE + words("a")[0]))

    answer = ask(http, box, "scenario/both")

    assert last_error(answer)["code"] == "upstream_error"


def test_a_large_event_passes(http: httpx.Client, box: Running, upstream: Upstream) -> None:
    events = [ROLE, chunk({"content": "x" * (4 * MIB)}), FINISH, DONE]
    upstream.script("a", stream(events))

    answer = ask(http, box, "p/a")

    assert answer.content == b"".join(events)


@pytest.mark.parametrize("before", [[ROLE], [ROLE, *words("a")]], ids=["before", "after"])
def test_an_event_without_end_is_given_up(
    http: httpx.Client, box: Running, upstream: Upstream, before: list[bytes]
) -> None:
    upstream.script("a", stream([*before, b"data: " + b"x" * (9 * MIB)], Wire.stall))

    answer = ask(http, box, "scenario/both")

    assert upstream.requests[0].left() > 0
    assert len(answer.content) < 10_000
    if len(before) == 1:
        assert upstream.models == ["a", "good"]
        assert b"good2" in answer.content
    else:
        assert upstream.models == ["a"]
        assert last_error(answer)["code"] == "upstream_error"


def test_a_complete_stream_ends_while_its_upstream_continues(
    http: httpx.Client, box: Running, upstream: Upstream
) -> None:
    upstream.script("a", upstreams.endless(b": keep-alive\n\n", WHOLE))

    answer = ask(http, box, "p/a")

    assert answer.content.startswith(b"".join(WHOLE))
    assert b"error" not in answer.content
    assert upstream.requests[0].left() > 0


def test_json_for_a_streamed_call_falls_back(http: httpx.Client, box: Running, upstream: Upstream) -> None:
    upstream.script("a", plain(json.dumps(upstreams.completion("whole")).encode()))

    answer = ask(http, box, "scenario/both")

    assert b"good2" in answer.content


def test_the_sdks_own_retries_do_not_multiply_ours(box: Running, upstream: Upstream) -> None:
    upstream.script("a", upstreams.refuse(500))

    with (
        openai.OpenAI(base_url=f"{box.url}/v1", api_key="sb", timeout=PATIENCE) as client,
        pytest.raises(openai.InternalServerError),
    ):
        client.chat.completions.create(model="p/a", messages=MESSAGES)

    assert len(upstream.requests) == 2  # one call: a try and our own retry


def test_debug_tells_of_every_attempt_of_a_stream(http: httpx.Client, box: Running, upstream: Upstream) -> None:
    upstream.script("a", stream([ROLE, event(upstreams.error("no"))]))

    answer = ask(http, box, "scenario/both", router={"debug": True})

    [reported] = [json.loads(line[6:]) for line in answer.text.splitlines() if '"router"' in line]
    assert reported["choices"] == []
    assert [attempt["model"] for attempt in reported["router"]["attempts"]] == upstream.models == ["a", "a", "good"]
    assert answer.content.endswith(DONE)


def test_debug_tells_of_a_stream_that_broke_before_its_error(
    http: httpx.Client, box: Running, upstream: Upstream
) -> None:
    upstream.script("a", stream([ROLE, *words("a")], Wire.reset))

    answer = ask(http, box, "p/a", router={"debug": True})

    *_, reported, error = [json.loads(line[6:]) for line in answer.text.splitlines() if line]
    assert [attempt["model"] for attempt in reported["router"]["attempts"]] == ["a"]
    assert error["error"]["code"] == "upstream_error"


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "plain"])
def test_a_client_that_stops_reading_is_given_up(
    http: httpx.Client, upstream: Upstream, tmp_path: Path, access_log: Any, *, streams: bool
) -> None:
    big = chunk({"content": "x" * MIB})
    whole = json.dumps(upstreams.completion("x" * (24 * MIB))).encode()
    upstream.script("a", upstreams.endless(big) if streams else plain(whole))
    body = json.dumps({"model": "p/a", "messages": MESSAGES, "stream": streams}).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
    head += f"x-request-id: stalled\r\ncontent-length: {len(body)}\r\n\r\n"

    with signalbox(configuration(upstream.url, write_stall="200ms"), tmp_path) as box:
        url = httpx.URL(box.url)
        with socket.create_connection((url.host, url.port), timeout=PATIENCE) as client:
            client.sendall(head.encode() + body)
            if streams:
                assert upstream.next().left() > 0
            while (line := access_log.next())["request_id"] != "stalled":
                pass  # a call of the test before this one
            inflight = re.search(r"(?m)^signalbox_inflight_requests (\S+)$", http.get(f"{box.url}/metrics").text)

    assert (line["outcome"], line["status"]) == ("client_closed", 499)
    assert inflight is not None
    assert float(inflight[1]) == 0


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open sockets are counted in /proc")
def test_a_client_that_never_reads_does_not_keep_its_connection(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", upstreams.endless(chunk({"content": "x" * MIB})))
    body = json.dumps({"model": "p/a", "messages": MESSAGES, "stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"

    with signalbox_process(configuration(upstream.url, write_stall="200ms"), tmp_path) as process:
        url = httpx.URL(process.url)
        before = sockets_of(process.popen.pid)
        with socket.create_connection((url.host, url.port), timeout=PATIENCE) as client:
            client.sendall(head.encode() + body)
            upstream.next().left()
            until(lambda: sockets_of(process.popen.pid) == before)


def sockets_of(process: int) -> int:
    """How many sockets a process has open."""
    count = 0
    for entry in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):
            count += entry.readlink().name.startswith("socket:")
    return count


MANY: list[Script] = [
    upstreams.whole,
    upstreams.whole,
    upstreams.refuse(500),
    upstreams.refuse(429, headers={"retry-after": "0"}),
    upstreams.refuse(400),
    upstreams.drop,
    upstreams.reset,
    stream([ROLE], Wire.reset),
    stream([ROLE, *words("a")], Wire.reset),
    plain(b""),
]


def test_our_accounts_agree_with_the_upstreams_log(http: httpx.Client, upstream: Upstream, tmp_path: Path) -> None:
    rng = Random(7)
    upstream.keeps = False  # else the transport may send again what a kept connection lost
    upstream.script("a", *rng.choices(MANY, k=400))
    calls = 150

    with signalbox(configuration(upstream.url), tmp_path) as box, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: ask(http, box, "scenario/both", streams=number % 3 > 0), range(calls)))
        settled = until(lambda: text if IDLE in (text := http.get(f"{box.url}/metrics").text) else "")
        samples = settled.splitlines()

    def total(name: str) -> float:
        return sum(float(line.rpartition(" ")[2]) for line in samples if line.startswith(name))

    reported = sum(int(answer.headers["x-router-attempts"]) for answer in answers)
    assert reported == len(upstream.requests)
    assert total("signalbox_attempts_total") == len(upstream.requests)
    assert total("signalbox_requests_total") == calls
    assert {answer.status_code for answer in answers} <= {200, 400}
