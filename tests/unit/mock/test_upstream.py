"""The mock as a transport: its latency, its faults, and that it can be left at any moment."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.model import MockOptions
from proxy.core.wire import UpstreamRequest
from proxy.mock.upstream import MockUpstream
from tests.support.fakes import pieces, whole

pytestmark = pytest.mark.anyio


class FakeClock:
    """Sleeps are written down and pass at once, until the one that is `stuck`."""

    def __init__(self, stuck: int | None = None) -> None:
        self.slept: list[float] = []
        self._stuck = stuck

    def monotonic(self) -> float:
        return sum(self.slept)

    def time(self) -> float:
        return sum(self.slept)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self._stuck == len(self.slept):
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()


def asked(options: MockOptions | None = None, **members: Any) -> UpstreamRequest:
    body = {"model": "small", "messages": [{"role": "user", "content": "Hello"}], **members}
    return sending(json.dumps(body).encode(), options)


def sending(content: bytes, options: MockOptions | None = None) -> UpstreamRequest:
    return UpstreamRequest(url="", headers={}, content=content, connect_timeout=1.0, mock=options)


async def received(request: UpstreamRequest, upstream: MockUpstream | None = None) -> tuple[int, dict[str, str], bytes]:
    async with aclosing(await (upstream or MockUpstream(FakeClock())).send(request)) as response:
        return response.status, dict(response.headers), await whole(response)


async def until_broken(request: UpstreamRequest) -> tuple[bytes, UpstreamFailure]:
    """What came before the connection broke, and how it did."""
    got = b""
    try:
        async with aclosing(await MockUpstream(FakeClock()).send(request)) as response:
            async for chunk in pieces(response):
                got += chunk
    except UpstreamFailure as failure:
        return got, failure
    pytest.fail("the connection did not break")


def payloads(body: bytes) -> list[bytes]:
    return [event.removeprefix(b"data: ") for event in body.removesuffix(b"\n\n").split(b"\n\n")]


async def outcomes(upstream: MockUpstream, options: MockOptions, count: int) -> list[int]:
    """The statuses of one body, sent again and again."""
    return [(await received(asked(options), upstream))[0] for _ in range(count)]


async def test_an_answer_is_one_completion() -> None:
    status, headers, body = await received(asked())

    made = json.loads(body)
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert headers["x-request-id"].startswith("req_mock_")
    assert made["object"] == "chat.completion"
    assert made["choices"][0]["message"]["content"].startswith("[MOCK] ")


async def test_a_stream_says_what_the_completion_says() -> None:
    _, _, whole = await received(asked())
    status, headers, body = await received(asked(stream=True, stream_options={"include_usage": True}))

    *chunks, done = payloads(body)
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert done == b"[DONE]"
    *contents, last = [json.loads(chunk) for chunk in chunks]
    said = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in contents)
    assert said == json.loads(whole)["choices"][0]["message"]["content"]
    assert last["usage"] == json.loads(whole)["usage"]


async def test_a_stream_comes_in_whole_events() -> None:
    async with aclosing(await MockUpstream(FakeClock()).send(asked(stream=True))) as response:
        chunks = [chunk async for chunk in pieces(response)]

    assert len(chunks) > 5
    assert all(chunk.startswith(b"data: ") and chunk.endswith(b"\n\n") for chunk in chunks)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
async def test_a_body_that_is_no_json_object_is_refused(content: bytes) -> None:
    status, _, body = await received(sending(content))

    assert status == 400
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


async def test_without_latency_nothing_sleeps() -> None:
    clock = FakeClock()

    await received(asked(stream=True), MockUpstream(clock))

    assert clock.slept == []


async def test_latency_is_before_the_first_byte_and_between_events() -> None:
    clock = FakeClock()

    async with aclosing(await MockUpstream(clock).send(asked(MockOptions(latency=0.5), stream=True))) as response:
        head = list(clock.slept)
        chunks = [chunk async for chunk in pieces(response)]

    assert head == [0.5]
    assert clock.slept[1:] == [0.025] * (len(chunks) - 1)


async def test_the_pause_between_events_has_a_limit() -> None:
    clock = FakeClock()

    await received(asked(MockOptions(latency=60), stream=True), MockUpstream(clock))

    assert set(clock.slept[1:]) == {0.05}


async def test_error_is_a_500_in_openai_shape() -> None:
    status, headers, body = await received(asked(model="small:error"))

    assert (status, headers["content-type"]) == (500, "application/json")
    assert json.loads(body)["error"].keys() == {"message", "type", "param", "code"}


async def test_rate_limit_is_a_429_with_the_time_to_wait() -> None:
    status, headers, body = await received(asked(model="small:rate_limit", stream=True))

    assert (status, headers["retry-after"]) == (429, "2")
    assert json.loads(body)["error"]["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize(("latency", "wait"), [(0.0, 1.0), (0.05, 1.0), (0.5, 5.0)])
async def test_slow_waits_ten_times_the_latency_and_a_second_at_least(latency: float, wait: float) -> None:
    clock = FakeClock()

    status, _, _ = await received(asked(MockOptions(latency=latency), model="small:slow"), MockUpstream(clock))

    assert (status, clock.slept) == (200, [wait])


@pytest.mark.parametrize("stream", [False, True])
async def test_cut_breaks_after_half_of_the_bytes(*, stream: bool) -> None:
    options = MockOptions(tokens=30)
    _, _, whole = await received(asked(options, model="small:slow", stream=stream))

    got, failure = await until_broken(asked(options, model="small:cut", stream=stream))

    assert failure.kind is FailureKind.CONNECT
    assert str(failure) == "the upstream closed the connection"
    assert 0.4 * len(whole) < len(got) < 0.6 * len(whole)
    assert b"[DONE]" not in got


async def test_bad_json_is_a_200_that_does_not_parse() -> None:
    status, headers, body = await received(asked(model="small:bad_json"))

    assert (status, headers["content-type"]) == (200, "application/json")
    with pytest.raises(ValueError, match="Unterminated|Expecting"):
        json.loads(body)


async def test_bad_json_garbles_every_event_of_a_stream() -> None:
    status, _, body = await received(asked(model="small:bad_json", stream=True))

    *chunks, done = payloads(body)
    assert (status, done) == (200, b"[DONE]")
    assert chunks
    for chunk in chunks:
        with pytest.raises(ValueError, match="Unterminated|Expecting"):
            json.loads(chunk)


async def test_a_failure_rate_of_one_always_fails() -> None:
    statuses = await outcomes(MockUpstream(FakeClock()), MockOptions(failure_rate=1.0), 5)

    assert statuses == [500] * 5


@pytest.mark.parametrize("options", [MockOptions(failure_rate=0.0), MockOptions(failure_rate=1.0, faults=())])
async def test_without_a_rate_or_faults_nothing_fails(options: MockOptions) -> None:
    assert await outcomes(MockUpstream(FakeClock()), options, 5) == [200] * 5


async def test_faults_of_a_body_are_repeatable_and_retries_may_succeed() -> None:
    options = MockOptions(failure_rate=0.5)

    first = await outcomes(MockUpstream(FakeClock()), options, 20)
    second = await outcomes(MockUpstream(FakeClock()), options, 20)

    assert first == second
    assert set(first) == {200, 500}


async def test_another_seed_draws_other_faults() -> None:
    first = await outcomes(MockUpstream(FakeClock()), MockOptions(seed=1, failure_rate=0.5), 20)
    second = await outcomes(MockUpstream(FakeClock()), MockOptions(seed=2, failure_rate=0.5), 20)

    assert first != second


async def test_faults_are_drawn_from_those_configured() -> None:
    options = MockOptions(failure_rate=1.0, faults=("rate_limit", "error"))

    assert set(await outcomes(MockUpstream(FakeClock()), options, 20)) == {429, 500}


async def test_timeout_never_answers_and_can_be_cancelled() -> None:
    entered = False

    async def send() -> None:
        nonlocal entered
        await MockUpstream(FakeClock()).send(asked(model="small:timeout"))
        entered = True

    async with anyio.create_task_group() as group:
        group.start_soon(send)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()

    assert group.cancel_scope.cancelled_caught
    assert not entered


async def test_a_stream_can_be_cancelled_between_events() -> None:
    got: list[bytes] = []

    async def read() -> None:
        upstream = MockUpstream(FakeClock(stuck=3))
        async with aclosing(await upstream.send(asked(MockOptions(latency=0.1), stream=True))) as response:
            while True:
                got.append(await response.read())

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()

    assert group.cancel_scope.cancelled_caught
    assert len(got) == 2


async def test_a_reader_that_never_waits_can_be_cancelled() -> None:
    got = 0

    with anyio.CancelScope() as scope:
        async with aclosing(
            await MockUpstream(FakeClock()).send(asked(MockOptions(tokens=100), stream=True))
        ) as response:
            async for _ in pieces(response):
                got += 1
                if got == 3:
                    scope.cancel()

    assert scope.cancelled_caught
    assert 3 <= got < 30


async def test_a_pump_that_never_waits_can_be_cancelled() -> None:
    got: list[bytes] = []

    def feed(piece: bytes) -> bool:
        got.append(piece)
        if len(got) == 3:
            scope.cancel()
        return True

    with anyio.CancelScope() as scope:
        async with aclosing(
            await MockUpstream(FakeClock()).send(asked(MockOptions(tokens=100), stream=True))
        ) as response:
            await response.pump(feed, anyio.lowlevel.checkpoint)

    assert scope.cancelled_caught
    assert 3 <= len(got) < 30


@pytest.mark.parametrize("latency", [0.0, 0.5])
async def test_a_pump_drains_whenever_the_client_is_full(latency: float) -> None:
    got: list[bytes] = []

    def feed(piece: bytes) -> bool:
        got.append(piece)
        return len(got) != 4

    async def drain() -> None:
        got.append(b"<drained>")

    request = asked(MockOptions(latency=latency), stream=True)
    _, _, body = await received(request)
    async with aclosing(await MockUpstream(FakeClock()).send(request)) as response:
        await response.pump(feed, drain)

    assert got[4] == b"<drained>"
    assert b"".join(got[:4] + got[5:]) == body


async def test_a_pump_raises_the_cut_after_half_of_the_bytes() -> None:
    got: list[bytes] = []
    request = asked(model="small:cut", stream=True)
    half, _ = await until_broken(request)

    async with aclosing(await MockUpstream(FakeClock()).send(request)) as response:
        with pytest.raises(UpstreamFailure, match="closed the connection"):
            await response.pump(lambda piece: not got.append(piece), anyio.lowlevel.checkpoint)

    assert b"".join(got) == half


async def test_what_is_left_of_a_stream_is_closed_with_the_response() -> None:
    async with aclosing(await MockUpstream(FakeClock()).send(asked(stream=True))) as response:
        await response.read()

    assert await response.read() == b""
