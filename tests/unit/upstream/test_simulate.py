"""Failures on request, as attempts see them."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import aclosing
from typing import get_args

import anyio
import pytest

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.wire import UpstreamRequest
from proxy.upstream import simulate as module
from proxy.upstream.simulate import SLOW_SECONDS, Kind, Simulator
from proxy.upstream.transport import Transport
from tests.support.fakes import Answer, FakeClock, ScriptedTransport, pieces

pytestmark = pytest.mark.anyio

PLAIN = UpstreamRequest("https://acme.test/v1/chat/completions", {}, b'{"model":"small"}', 5.0)
STREAM = UpstreamRequest("https://acme.test/v1/chat/completions", {}, b'{"model":"small","stream":true}', 5.0)
GEMINI = UpstreamRequest("https://acme.test/v1beta/models/small:streamGenerateContent?alt=sse", {}, b"{}", 5.0)


def made(*answers: Answer) -> tuple[Simulator, ScriptedTransport, FakeClock]:
    clock = FakeClock()
    return Simulator(clock, random.Random(1)), ScriptedTransport(clock, {"acme": answers}), clock


async def seen(transport: Transport, request: UpstreamRequest = PLAIN) -> tuple[int, str, bytes, bool]:
    """Status, content type, body, and whether the connection broke."""
    body, broke = b"", False
    async with aclosing(await transport.send(request)) as response:
        try:
            async for chunk in pieces(response):
                body += chunk
        except UpstreamFailure as failure:
            broke = failure.kind is FailureKind.CONNECT
    return response.status, response.headers.get("content-type", ""), body, broke


async def test_without_a_simulated_failure_the_transport_is_unchanged() -> None:
    simulator, transport, _ = made()

    assert simulator.over(transport, "acme", "small") is transport


@pytest.mark.parametrize(
    ("kind", "request_", "status", "begins"),
    [
        ("error", PLAIN, 500, b'{"error":'),
        ("error", STREAM, 500, b'{"error":'),
        ("bad_json", PLAIN, 200, b'{"id"'),
        ("bad_json", STREAM, 200, b'data: {"id"'),
        ("bad_json", GEMINI, 200, b'data: {"id"'),
    ],
)
async def test_what_needs_no_upstream_asks_none(
    kind: Kind, request_: UpstreamRequest, status: int, begins: bytes
) -> None:
    simulator, transport, _ = made()
    simulator.fail("acme", None, kind, 10.0)

    got, content_type, body, broke = await seen(simulator.over(transport, "acme", "small"), request_)

    assert (got, broke, transport.requests) == (status, False, [])
    assert body.startswith(begins)
    assert content_type == ("text/event-stream" if begins.startswith(b"data") else "application/json")


@pytest.mark.parametrize(
    ("pieces", "left"), [([b"first", b"second", b"third"], b"firstsec"), ([b"only"], b"on"), ([], b"")]
)
async def test_a_cut_answer_breaks_in_the_middle(pieces: list[bytes], left: bytes) -> None:
    simulator, transport, _ = made(Answer(pieces, headers={"content-type": "application/json"}))
    simulator.fail("acme", "small", "cut", 10.0)

    assert await seen(simulator.over(transport, "acme", "small")) == (200, "application/json", left, True)
    assert transport.open == transport.reading == 0


async def test_a_slow_answer_is_the_real_one_later() -> None:
    simulator, transport, clock = made(Answer([b"all"]))
    simulator.fail("acme", None, "slow", 10.0)

    assert (await seen(simulator.over(transport, "acme", "small")))[2:] == (b"all", False)
    assert clock.slept == [SLOW_SECONDS]


async def test_a_timeout_is_no_answer_at_all() -> None:
    simulator, transport, _ = made()
    simulator.fail("acme", None, "timeout", 10.0)

    with anyio.move_on_after(0.02) as scope:
        await seen(simulator.over(transport, "acme", "small"))

    assert scope.cancelled_caught
    assert transport.requests == []


@pytest.mark.parametrize(
    ("provider", "model", "hit"),
    [("acme", "small", True), ("acme", "large", False), ("other", "small", False)],
)
async def test_only_what_matches_suffers(provider: str, model: str, hit: bool) -> None:
    simulator, transport, _ = made()
    simulator.fail("acme", "small", "error", 10.0)

    assert (simulator.over(transport, provider, model) is not transport) is hit


async def test_it_ends_when_its_time_is_over() -> None:
    simulator, transport, clock = made()
    simulator.fail("acme", None, "error", 10.0)

    clock.pass_(9.9)
    assert simulator.rows() == [{"provider": "acme", "model": None, "kind": "error", "rate": 1.0, "seconds_left": 0.1}]
    clock.pass_(0.1)

    assert simulator.over(transport, "acme", "small") is transport
    assert simulator.rows() == []


async def test_a_share_of_the_attempts_suffers() -> None:
    simulator, transport, _ = made()
    simulator.fail("acme", None, "error", 10.0, rate=0.3)

    hits = Counter(simulator.over(transport, "acme", "small") is transport for _ in range(2000))

    assert 0.26 < hits[False] / 2000 < 0.34


@pytest.mark.parametrize(
    ("provider", "model", "fails"),
    [("acme", "small", True), ("acme", "large", False), ("other", "any", True), ("third", "small", False)],
)
async def test_active_failures_are_known_independent_of_chance(provider: str, model: str, fails: bool) -> None:
    simulator, _, clock = made()
    simulator.fail("acme", "small", "error", 10.0, rate=1e-9)
    simulator.fail("other", None, "error", 10.0)

    assert simulator.fails(provider, model) is fails
    clock.pass_(10.0)
    assert not simulator.fails(provider, model)


async def test_all_can_be_stopped() -> None:
    simulator, transport, _ = made()
    for name in ("acme", "other"):
        simulator.fail(name, None, "error", 10.0)

    simulator.stop()

    assert simulator.rows() == []
    assert simulator.over(transport, "acme", "small") is transport


@pytest.mark.parametrize(("seconds", "rate"), [(0.0, 1.0), (10.0, 0.0)])
async def test_a_new_word_replaces_the_last_one_and_nothing_ends_it(seconds: float, rate: float) -> None:
    simulator, _, _ = made()
    for kind in get_args(Kind):
        simulator.fail("acme", None, kind, 10.0)
    assert [row["kind"] for row in simulator.rows()] == [get_args(Kind)[-1]]

    simulator.fail("acme", None, "error", seconds, rate)

    assert simulator.rows() == []


async def test_only_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ACTIVE", 2)
    simulator, _, _ = made()

    for name in ("a", "b", "c"):
        simulator.fail(name, None, "error", 10.0)

    assert [row["provider"] for row in simulator.rows()] == ["b", "c"]
