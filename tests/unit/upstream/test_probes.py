"""Background probes, with scripted providers and a clock that the tests move."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.policies import BreakerPolicy, ProbePolicy
from proxy.core.types import Deployment
from proxy.dialects.openai.dialect import OpenAIDialect
from proxy.upstream.health import Health
from proxy.upstream.probes import AT_ONCE, Prober
from proxy.upstream.simulate import Simulator
from tests.calls import deployment, provider, snapshot
from tests.fakes import REFUSED, Answer, FakeClock, ScriptedTransport, Stall, turn
from tests.unit.upstream.bench import OK, refusal

pytestmark = pytest.mark.anyio

POLICY = BreakerPolicy(consecutive=1, window=600, window_failures=5, open=60, max_open=600, half_open=1)
ONE = deployment(of=provider("acme"))
LIST = Answer([b'{"object":"list","data":[]}'])
E401, E404, E429, E503 = refusal(401), refusal(404), refusal(429), refusal(503)
HTML = Answer([b"<html>"])
CONNECT, SERVER, KEY = FailureKind.CONNECT, FailureKind.SERVER_ERROR, FailureKind.KEY_REJECTED
TIMEOUT, LIMIT = FailureKind.FIRST_TOKEN_TIMEOUT, FailureKind.RATE_LIMITED


@dataclass
class Bench:
    """A prober that runs, and what it works with."""

    clock: FakeClock
    health: Health
    transport: ScriptedTransport

    @property
    def asked(self) -> list[str]:
        """The requests, as method and path."""
        return [f"{request.method} {request.url.split('.test')[1]}" for request in self.transport.requests]

    def fail(self, of: Deployment, kind: FailureKind, **fields: Any) -> None:
        lease = self.health.lease(of)
        assert lease
        lease.fail(UpstreamFailure(kind, "x", **fields))

    @property
    def breakers(self) -> dict[str, str]:
        """The states, by model."""
        return {row["model"]: row["state"] for row in self.health.breakers() if row["state"] != "closed"}


@asynccontextmanager
async def probing(
    script: Mapping[str, Sequence[Answer]],
    *deployments: Deployment,
    policy: BreakerPolicy = POLICY,
    chat: bool = False,
) -> AsyncIterator[Bench]:
    clock = FakeClock()
    transport, health = ScriptedTransport(clock, script), Health(clock, policy)
    configured = snapshot(*(deployments or (ONE,)), probes=ProbePolicy(chat=chat))
    prober = Prober(
        snapshot=lambda: configured,
        health=health,
        transports={"openai": transport, "mock": transport},
        dialects={"openai": OpenAIDialect(), "mock": OpenAIDialect()},
        simulator=Simulator(clock, random.Random(3)),
        clock=clock,
        rng=random.Random(3),
    )
    async with anyio.create_task_group() as group:
        group.start_soon(prober.run)
        await turn()
        yield Bench(clock, health, transport)
        group.cancel_scope.cancel()


async def test_when_all_is_well_nothing_is_sent() -> None:
    async with probing({}) as bench:
        await bench.clock.advance(600)

        assert bench.asked == []


@pytest.mark.parametrize("kind", [CONNECT, SERVER, FailureKind.OVERLOADED])
async def test_an_open_breaker_is_probed_shortly_before_its_end_and_closes(kind: FailureKind) -> None:
    async with probing({"acme": [LIST]}) as bench:
        bench.fail(ONE, kind)

        await bench.clock.advance(54.9)
        assert bench.asked == []
        await bench.clock.advance(5.0)

        assert bench.asked == ["GET /v1/models"]
        assert bench.breakers == {}


async def test_a_rejected_key_is_probed_and_its_rest_ends() -> None:
    async with probing({"acme": [LIST]}) as bench:
        bench.fail(ONE, KEY)
        assert bench.health.lease(ONE) is None

        await bench.clock.advance(59.0)

        assert bench.asked == ["GET /v1/models"]
        assert bench.transport.requests[0].headers["authorization"] == "Bearer sk-main-secret"
        assert bench.health.lease(ONE) is not None


async def test_a_key_that_stays_rejected_rests_longer_each_time_and_no_user_meets_it() -> None:
    async with probing({"acme": [E401] * 4}) as bench:
        bench.fail(ONE, KEY)
        for _ in range(800):
            await bench.clock.advance(1.0, turns=5)
            assert bench.health.lease(ONE) is None

        assert len(bench.asked) == 3  # after about 60, 180 and 420 seconds


@pytest.mark.parametrize("answer", [E503, REFUSED, Answer(before=[Stall()])], ids=["503", "refused", "stall"])
async def test_a_failed_probe_opens_the_breaker_for_twice_as_long(
    answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.upstream.probes.PATIENCE", 0.01)
    async with probing({"acme": [answer]}) as bench:
        bench.fail(ONE, SERVER)
        await bench.clock.advance(59.0)
        await anyio.sleep(0.03)
        await turn()

        [row] = bench.health.breakers()
        assert (row["openings"], row["state"]) == (2, "open")
        assert 115 <= row["open_seconds_left"] <= 120


async def test_a_rejection_met_by_a_breaker_s_probe_rests_the_key() -> None:
    async with probing({"acme": [E401]}) as bench:
        bench.fail(ONE, SERVER)
        await bench.clock.advance(59.0)

        assert bench.breakers == {"small": "open"}
        assert [rest["reason"] for rest in bench.health.rests()] == ["key_rejected"]


@pytest.mark.parametrize(
    ("kind", "answer", "closes"),
    [(CONNECT, E404, True), (CONNECT, E429, True), (SERVER, E404, False), (TIMEOUT, LIST, False)],
)
async def test_what_a_probe_cannot_show_is_left_to_one_user_at_a_time(
    kind: FailureKind, answer: Answer, closes: bool
) -> None:
    async with probing({"acme": [answer]}) as bench:
        bench.fail(ONE, kind)
        await bench.clock.advance(65.0)

        assert len(bench.asked) == 1
        lease = bench.health.lease(ONE)
        assert lease
        assert lease.permit.probe is not closes
        assert (bench.health.lease(ONE) is not None) is closes


async def test_one_token_is_asked_for_where_that_is_allowed() -> None:
    async with probing({"acme": [LIST, OK]}, chat=True) as bench:
        bench.fail(ONE, TIMEOUT)
        await bench.clock.advance(59.0)

        assert bench.asked == ["GET /v1/models", "POST /v1/chat/completions"]
        sent = json.loads(bench.transport.requests[1].content)
        assert (sent["model"], sent["max_tokens"]) == ("small", 1)
        assert bench.breakers == {}


@pytest.mark.parametrize(
    ("answer", "state"), [(refusal(400), {}), (E503, {"small": "open"}), (HTML, {"small": "open"})]
)
async def test_what_the_one_token_call_meets_moves_the_breaker(answer: Answer, state: dict[str, str]) -> None:
    async with probing({"acme": [LIST, answer]}, chat=True) as bench:
        bench.fail(ONE, TIMEOUT)
        await bench.clock.advance(59.0)

        assert bench.breakers == state


async def test_a_rate_limit_is_believed_where_no_call_may_be_made() -> None:
    async with probing({}) as bench:
        bench.fail(ONE, LIMIT, retry_after=300.0)
        await bench.clock.advance(400.0)

        assert bench.asked == []


@pytest.mark.parametrize(("answer", "rests"), [(OK, 0), (E429, 1), (E503, 1)])
async def test_a_long_rest_for_a_rate_limit_is_probed_with_a_call(answer: Answer, rests: int) -> None:
    async with probing({"acme": [LIST, answer]}, chat=True) as bench:
        bench.fail(ONE, LIMIT, retry_after=300.0)
        await bench.clock.advance(299.0)

        assert bench.asked == ["GET /v1/models", "POST /v1/chat/completions"]
        assert len(bench.health.rests()) == rests


async def test_a_short_rest_is_not_worth_a_probe() -> None:
    async with probing({}, chat=True) as bench:
        bench.fail(ONE, LIMIT, retry_after=30.0)
        await bench.clock.advance(60.0)

        assert bench.asked == []


async def test_a_provider_without_a_list_is_asked_for_a_token_or_not_at_all() -> None:
    vertex = deployment(of=provider("acme", base_url="https://acme.test/{model}/v1"))
    async with probing({}, vertex) as bench:
        bench.fail(vertex, SERVER)
        await bench.clock.advance(70.0)
        assert bench.asked == []

    mock = deployment(of=provider("acme", dialect="mock", keyless=True))
    async with probing({"acme": [OK]}, mock) as bench:
        bench.fail(mock, SERVER)
        await bench.clock.advance(59.0)
        assert bench.asked == ["POST /v1/chat/completions"]
        assert bench.breakers == {}


async def test_everything_of_one_key_is_asked_at_once_and_with_one_request() -> None:
    of = provider("acme")
    models = [deployment(f"m{number}", of) for number in range(8)]
    async with probing({"acme": [LIST]}, *models) as bench:
        for each in models:
            bench.fail(each, SERVER)
        await bench.clock.advance(59.0)

        assert bench.asked == ["GET /v1/models"]
        assert bench.breakers == {}


async def test_at_most_five_are_asked_at_once_at_moments_that_differ() -> None:
    stalled = Answer(before=[Stall()])
    models = [deployment(of=provider(f"p{number}")) for number in range(12)]
    async with probing({f"p{number}": [stalled] for number in range(12)}, *models) as bench:
        for each in models:
            bench.fail(each, SERVER)
        seen = []
        for _ in range(100):
            await bench.clock.advance(0.6, turns=20)
            seen.append(bench.transport.open)

        assert max(seen) == AT_ONCE
        assert len({count for count in seen if count}) > 2  # they did not begin together


async def test_while_a_probe_is_out_no_user_is_admitted_beyond_the_permits() -> None:
    async with probing({"acme": [Answer(before=[Stall()])]}) as bench:
        bench.fail(ONE, SERVER)
        await bench.clock.advance(59.9)
        assert bench.transport.open == 1

        await bench.clock.advance(0.2)
        assert bench.health.lease(ONE) is None

    lease = bench.health.lease(ONE)
    assert lease  # a probe that was cancelled has given its permit back
    assert lease.permit.probe
    assert bench.transport.open == 0


async def test_with_more_permits_a_user_and_a_probe_share_them() -> None:
    async with probing({"acme": [Answer(before=[Stall()])]}, policy=BreakerPolicy(consecutive=1, half_open=2)) as bench:
        bench.fail(ONE, SERVER)
        await bench.clock.advance(59.9)
        assert bench.health.lease(ONE) is None  # not before its time
        await bench.clock.advance(0.2)

        assert bench.health.lease(ONE) is not None
        assert bench.health.lease(ONE) is None


async def test_what_the_configuration_does_not_know_any_more_is_left_alone() -> None:
    gone = deployment(of=provider("gone"))
    changed = deployment(of=provider("acme", "old"))
    unlisted = deployment("unlisted")
    async with probing({"acme": [LIST]}) as bench:
        for each in (gone, changed, unlisted):
            bench.fail(each, SERVER)
        await bench.clock.advance(70.0)

        assert bench.asked == []


async def test_a_model_that_only_clients_named_is_probed_like_any_other() -> None:
    open_to_all = provider("acme", any_model=True)
    async with probing({"acme": [LIST]}, deployment(of=open_to_all)) as bench:
        bench.fail(deployment("unlisted", open_to_all), SERVER)
        await bench.clock.advance(59.0)

        assert bench.breakers == {}


async def test_a_probe_that_fails_by_a_fault_of_ours_does_not_end_the_others(caplog: pytest.LogCaptureFixture) -> None:
    async with probing({"acme": [], "other": [LIST]}, ONE, deployment(of=provider("other"))) as bench:
        bench.fail(ONE, SERVER)  # whose script is empty, which is an IndexError
        await bench.clock.advance(10.0)
        bench.fail(deployment(of=provider("other")), SERVER)
        await bench.clock.advance(59.0)

        assert bench.asked == ["GET /v1/models"] * 2
    assert [record.levelname for record in caplog.records if record.levelname == "ERROR"] == ["ERROR"]
