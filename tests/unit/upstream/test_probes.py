"""Background probes, with scripted providers and a clock that the tests move."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from proxy.capacity.budget_memory import MemoryBudgets
from proxy.capacity.budget_store import Spending
from proxy.capacity.budgets import Budgets
from proxy.capacity.limits import Limits
from proxy.capacity.memory import MemoryCounters
from proxy.capacity.store import Wait
from proxy.core.budgets import BudgetPolicy, BudgetRule
from proxy.core.errors import Unavailable
from proxy.core.failures import RULES, FailureClass, FailureKind, FailureRule, UpstreamFailure
from proxy.core.ledger import Ledger
from proxy.core.model import Deployment, LimitValues, Price
from proxy.core.policies import BreakerPolicy, ProbePolicy
from proxy.core.record import AttemptRecord, Record
from proxy.core.usage import Usage
from proxy.dialects.openai.dialect import OpenAIDialect
from proxy.upstream.health import Health
from proxy.upstream.probe_requests import ProbeRequests
from proxy.upstream.probes import AT_ONCE, Prober
from proxy.upstream.secrets import Cleaners
from proxy.upstream.simulate import Kind, Simulator
from tests.support.calls import deployment, live, provider
from tests.support.clocks import VirtualClock, idle
from tests.support.fakes import REFUSED, Answer, ScriptedTransport, Stall
from tests.unit.upstream.bench import OK, refusal

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

POLICY = BreakerPolicy(consecutive=1, window=600, window_failures=5, open=60, max_open=600, half_open=1)
ONE = deployment(of=provider("acme"))
LIST = Answer([b'{"object":"list","data":[]}'])
E401, E403, E404, E429, E503 = refusal(401), refusal(403), refusal(404), refusal(429), refusal(503)
E500, E408 = refusal(500), refusal(408)
HTML = Answer([b"<html>"])
CONNECT, SERVER, KEY = FailureKind.CONNECT, FailureKind.SERVER_ERROR, FailureKind.KEY_REJECTED
TIMEOUT, LIMIT = FailureKind.FIRST_TOKEN_TIMEOUT, FailureKind.RATE_LIMITED


@dataclass
class Bench:
    """A prober that runs, and what it works with."""

    clock: VirtualClock
    health: Health
    transport: ScriptedTransport
    limits: Limits
    simulator: Simulator
    counted: list[tuple[str, str, Usage | None]]
    budgets: Budgets

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
        return {row["model"]: row["state"] for row in self.health.breaker_rows() if row["state"] != "closed"}

    @property
    def openings(self) -> list[int]:
        """How often each breaker has opened."""
        return [row["openings"] for row in self.health.breaker_rows()]

    def used(self, of: Deployment) -> bool:
        """Whether a user would be let through now; if so, the call is made, and fails."""
        lease = self.health.lease(of)
        if lease:
            lease.fail(UpstreamFailure(SERVER, "x"))
        return lease is not None


@asynccontextmanager
async def probing(
    script: Mapping[str, Sequence[Answer]],
    *deployments: Deployment,
    policy: BreakerPolicy = POLICY,
    chat: bool = False,
    rules: Mapping[FailureClass, FailureRule] = RULES,
    ledger: Ledger | None = None,
    budget: BudgetRule | None = None,
) -> AsyncIterator[Bench]:
    clock = VirtualClock()
    config = live(
        *(deployments or (ONE,)),
        breaker=policy,
        failures=rules,
        probes=ProbePolicy(chat=chat),
        budgets=BudgetPolicy({(budget.scope, budget.id): (budget,)}) if budget else None,
    )
    budgets = Budgets(MemoryBudgets(clock), clock, config, id="p")
    transport, health = ScriptedTransport(clock, script), Health(clock, config)
    limits, simulator = Limits(MemoryCounters(clock), clock, config), Simulator(clock, random.Random(3))
    counted: list[tuple[str, str, Usage | None]] = []
    requests = ProbeRequests(
        live=config,
        limits=limits,
        budgets=budgets,
        transports={"openai": transport, "mock": transport},
        dialects={"openai": OpenAIDialect(), "mock": OpenAIDialect()},
        simulator=simulator,
        count=lambda of, outcome, usage, nusd: counted.append((of.name, outcome, usage)),
        cleaners=Cleaners(),
        clock=clock,
        ledger=ledger,
    )
    prober = Prober(
        live=config,
        health=health,
        requests=requests,
        simulator=simulator,
        clock=clock,
        rng=random.Random(3),
    )
    async with asyncio.TaskGroup() as group:
        task = group.create_task(prober.run())
        await idle()
        yield Bench(clock, health, transport, limits, simulator, counted, budgets)
        task.cancel()


async def test_when_all_is_well_nothing_is_sent() -> None:
    async with probing({}) as bench:
        await bench.clock.advance(600)

        assert bench.asked == []


@pytest.mark.parametrize("kind", [CONNECT, SERVER, FailureKind.OVERLOADED])
async def test_a_probe_closes_a_breaker_shortly_before_its_time(kind: FailureKind) -> None:
    async with probing({"acme": [LIST]}) as bench:
        bench.fail(ONE, kind)

        await bench.clock.advance(54.9)
        assert bench.asked == []
        await bench.clock.advance(5.0)

        assert bench.asked == ["GET /v1/models"]
        assert bench.breakers == {}


@pytest.mark.parametrize(("kind", "closes"), [(CONNECT, True), (SERVER, False)])
async def test_a_model_list_does_not_clear_one_failing_model(kind: FailureKind, closes: bool) -> None:
    models = [deployment(name) for name in ("bad", "good", "better")]
    async with probing({"acme": [LIST]}, *models) as bench:
        bench.fail(models[0], kind)
        await bench.clock.advance(61.0)

        assert bench.asked == ["GET /v1/models"]
        assert ("bad" not in bench.breakers) == closes
        lease = bench.health.lease(models[0])
        assert lease
        assert lease.admission.probe != closes  # it half-opens at its time, for one user


async def test_one_failing_model_is_probed_with_a_token_if_allowed() -> None:
    models = [deployment(name) for name in ("bad", "good", "better")]
    async with probing({"acme": [LIST, OK]}, *models, chat=True) as bench:
        bench.fail(models[0], SERVER)
        await bench.clock.advance(59.0)

        assert bench.asked == ["GET /v1/models", "POST /v1/chat/completions"]
        assert bench.breakers == {}


async def test_a_rejected_key_is_probed_and_its_rest_ends() -> None:
    async with probing({"acme": [LIST]}) as bench:
        bench.fail(ONE, KEY)
        assert bench.health.lease(ONE) is None

        await bench.clock.advance(59.0)

        assert bench.asked == ["GET /v1/models"]
        assert bench.transport.requests[0].headers["authorization"] == "Bearer sk-main-secret"
        assert bench.health.lease(ONE) is not None


async def test_a_key_that_stays_rejected_is_not_used_for_clients() -> None:
    async with probing({"acme": [E401] * 4}) as bench:
        bench.fail(ONE, KEY)
        for _ in range(800):
            await bench.clock.advance(1.0)
            assert bench.health.lease(ONE) is None

        assert len(bench.asked) == 3  # after about 60, 180 and 420 seconds


@pytest.mark.parametrize(
    ("kind", "answer"),
    [(SERVER, E500), (SERVER, E503), (CONNECT, REFUSED), (TIMEOUT, E408), (TIMEOUT, Answer(before=[Stall()]))],
    ids=["500", "503", "refused", "408", "stall"],
)
async def test_a_list_failing_like_the_calls_doubles_the_open_time(
    kind: FailureKind, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.upstream.probe_requests.TIMEOUT_SECONDS", 0.01)
    async with probing({"acme": [answer]}) as bench:
        bench.fail(ONE, kind)
        await bench.clock.advance(59.0)

        [row] = bench.health.breaker_rows()
        assert (row["openings"], row["state"]) == (2, "open")
        assert 115 <= row["open_seconds_left"] <= 120


@pytest.mark.parametrize("answer", [E401, E403, E500, E503, REFUSED], ids=["401", "403", "500", "503", "refused"])
async def test_a_failing_list_is_ignored_while_most_models_work(answer: Answer) -> None:
    models = [deployment(name) for name in ("bad", "good", "better")]
    async with probing({"acme": [answer]}, *models) as bench:
        bench.fail(models[0], SERVER)
        await bench.clock.advance(61.0)

        assert bench.asked == ["GET /v1/models"]
        assert bench.openings == [1]
        assert bench.health.cooldown_rows() == []
        assert all(bench.health.lease(each) for each in models)


@pytest.mark.parametrize(
    ("kind", "answer"),
    [(SERVER, REFUSED), (CONNECT, E503), (TIMEOUT, E500), (SERVER, E401), (CONNECT, E403), (SERVER, E408)],
    ids=["refused", "503", "500", "401", "403", "408"],
)
async def test_a_list_failing_unlike_the_calls_is_ignored(kind: FailureKind, answer: Answer) -> None:
    async with probing({"acme": [answer]}) as bench:
        bench.fail(ONE, kind)
        await bench.clock.advance(61.0)

        assert bench.asked == ["GET /v1/models"]
        assert bench.openings == [1]
        assert bench.health.cooldown_rows() == []
        lease = bench.health.lease(ONE)
        assert lease
        assert lease.admission.probe  # it half-opens at its time, for one user


async def test_no_answer_is_no_sign_of_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.upstream.probe_requests.TIMEOUT_SECONDS", 0.01)
    rules: Mapping[FailureClass, FailureRule] = {**RULES, "timeout": FailureRule()}
    async with probing({"acme": [Answer(before=[Stall()])]}, rules=rules) as bench:
        bench.fail(ONE, CONNECT)
        await bench.clock.advance(59.0)

        assert bench.transport.open == 0
        assert bench.breakers == {"small": "open"}


async def test_a_permanently_broken_list_blocks_only_every_second_time() -> None:
    async with probing({"acme": [E500] * 9}) as bench:
        bench.fail(ONE, SERVER)
        let_through = []
        for seconds in (61.0, 121.0, 241.0, 481.0):  # it opens for twice as long each time
            await bench.clock.advance(seconds)
            let_through.append(bench.used(ONE))

        assert let_through == [False, True, False, True]
        assert bench.asked == ["GET /v1/models"] * 4


async def test_a_key_that_only_a_list_has_rejected_is_used_on() -> None:
    async with probing({"acme": [LIST, E403]}) as bench:
        bench.fail(ONE, KEY)
        await bench.clock.advance(61.0)
        bench.fail(ONE, SERVER)
        await bench.clock.advance(61.0)

        assert bench.asked == ["GET /v1/models"] * 2
        assert bench.health.cooldown_rows() == []
        assert bench.health.lease(ONE) is not None


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
        assert lease.admission.probe is not closes
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


@pytest.mark.parametrize("answer", [E403, REFUSED], ids=["403", "refused"])
async def test_where_the_list_fails_otherwise_one_token_says_more(answer: Answer) -> None:
    async with probing({"acme": [answer, OK]}, chat=True) as bench:
        bench.fail(ONE, SERVER)
        await bench.clock.advance(59.0)

        assert bench.asked == ["GET /v1/models", "POST /v1/chat/completions"]
        assert bench.breakers == {}


async def test_with_a_key_that_rests_no_call_is_made() -> None:
    async with probing({"acme": [E401] * 2}, chat=True) as bench:
        bench.fail(ONE, SERVER)
        await bench.clock.advance(30.0)
        lease = bench.health.lease(ONE, force=True)
        assert lease
        lease.fail(UpstreamFailure(KEY, "x", status=401))
        await bench.clock.advance(59.0)

        assert bench.asked == ["GET /v1/models"] * 2  # the breaker's time, and the key's


async def test_probes_do_not_use_a_connection_that_may_be_dead() -> None:
    async with probing({"acme": [LIST, OK]}, chat=True) as bench:
        bench.fail(ONE, TIMEOUT)
        await bench.clock.advance(59.0)

        assert [request.fresh for request in bench.transport.requests] == [True, True]


@pytest.mark.parametrize(
    ("answer", "outcome", "usage", "tokens"),
    [
        (OK, "ok", Usage(2, 1), 3),
        (E503, "overloaded", None, 0),
        (refusal(400), "bad_request", None, 0),
        (E408, "first_token_timeout", None, 16),
    ],
    ids=["200", "503", "400", "408"],
)
async def test_a_call_counts_under_the_limits_and_among_the_attempts(
    answer: Answer, outcome: str, usage: Usage | None, tokens: int
) -> None:
    limited = deployment(limits=LimitValues(rpm=3, tpm=1000, concurrency=1))
    async with probing({"acme": [LIST, answer]}, limited, chat=True) as bench:
        bench.fail(limited, TIMEOUT)
        await bench.clock.advance(59.0)

        assert bench.counted == [("acme/small", outcome, usage)]
        rows = {row["kind"]: row["used"] for row in await bench.limits.rows()}
        assert {"tpm": 0} | rows == {"tpm": tokens, "rpm": 1}  # the place is free again


@pytest.mark.parametrize("kind", [TIMEOUT, LIMIT])
async def test_without_room_under_the_limits_no_call_is_made(kind: FailureKind) -> None:
    limited = deployment(limits=LimitValues(rpd=1))
    async with probing({"acme": [LIST, OK]}, limited, chat=True) as bench:
        assert not isinstance(await bench.limits.reserve(limited, "main", 1), Wait)
        bench.fail(limited, kind, retry_after=60.0)
        await bench.clock.advance(61.0)

        assert bench.asked == ["GET /v1/models"]
        assert bench.counted == []
        assert bench.openings in ([1], [])
        assert bench.health.lease(limited) is not None  # as if there were no probes


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("model", ["small", None])
@pytest.mark.parametrize("drill", ["error", "cut"])
async def test_no_breaker_closes_during_a_simulated_failure(drill: Kind, model: str | None, *, chat: bool) -> None:
    async with probing({"acme": [LIST, OK]}, chat=chat) as bench:
        bench.simulator.fail("acme", model, drill, 600.0)
        bench.fail(ONE, SERVER if drill == "error" else CONNECT)
        await bench.clock.advance(59.0)

        assert bench.breakers == {"small": "open"}


async def test_a_simulated_failure_of_one_model_affects_no_other() -> None:
    models = [deployment("small"), deployment("large")]
    async with probing({"acme": [LIST]}, *models) as bench:
        bench.simulator.fail("acme", "small", "error", 600.0)
        for each in models:
            bench.fail(each, SERVER)
        await bench.clock.advance(59.0)

        assert bench.breakers == {"small": "open"}


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
        assert len(bench.health.cooldown_rows()) == rests


async def test_a_short_rest_is_not_worth_a_probe() -> None:
    async with probing({}, chat=True) as bench:
        bench.fail(ONE, LIMIT, retry_after=30.0)
        await bench.clock.advance(60.0)

        assert bench.asked == []


async def test_a_provider_without_a_list_is_probed_with_a_token_or_not() -> None:
    vertex = deployment(of=provider("acme", base_url="https://acme.test/{model}/v1"))
    async with probing({}, vertex) as bench:
        bench.fail(vertex, CONNECT)
        await bench.clock.advance(59.0)
        assert bench.asked == []
        assert bench.breakers == {"small": "open"}

    mock = deployment(of=provider("acme", dialect="mock", keyless=True))
    async with probing({"acme": [OK]}, mock) as bench:
        bench.fail(mock, SERVER)
        await bench.clock.advance(59.0)
        assert bench.asked == ["POST /v1/chat/completions"]
        assert bench.breakers == {}


async def test_one_request_probes_everything_of_one_key() -> None:
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
            await bench.clock.advance(0.6)
            seen.append(bench.transport.open)

        assert max(seen) == AT_ONCE
        assert len({count for count in seen if count}) > 2  # they did not begin together


async def test_no_call_exceeds_the_permits_while_a_probe_runs() -> None:
    async with probing({"acme": [Answer(before=[Stall()])]}) as bench:
        bench.fail(ONE, SERVER)
        await bench.clock.advance(59.9)
        assert bench.transport.open == 1

        await bench.clock.advance(0.2)
        assert bench.health.lease(ONE) is None

    lease = bench.health.lease(ONE)
    assert lease  # a probe that was cancelled has given its permit back
    assert lease.admission.probe
    assert bench.transport.open == 0


async def test_with_more_permits_a_user_and_a_probe_share_them() -> None:
    async with probing({"acme": [Answer(before=[Stall()])]}, policy=BreakerPolicy(consecutive=1, half_open=2)) as bench:
        bench.fail(ONE, SERVER)
        await bench.clock.advance(59.9)
        assert bench.health.lease(ONE) is None  # not before its time
        await bench.clock.advance(0.2)

        assert bench.health.lease(ONE) is not None
        assert bench.health.lease(ONE) is None


async def test_removed_deployments_are_not_probed() -> None:
    gone = deployment(of=provider("gone"))
    changed = deployment(of=provider("acme", "old"))
    unlisted = deployment("unlisted")
    async with probing({"acme": [LIST]}) as bench:
        for each in (gone, changed, unlisted):
            bench.fail(each, SERVER)
        await bench.clock.advance(70.0)

        assert bench.asked == []


async def test_client_named_models_are_probed_like_others() -> None:
    open_to_all = provider("acme", any_model=True)
    async with probing({"acme": [LIST]}, deployment(of=open_to_all)) as bench:
        bench.fail(deployment("unlisted", open_to_all), SERVER)
        await bench.clock.advance(59.0)

        assert bench.breakers == {}


async def test_an_internal_error_in_a_probe_does_not_end_others(caplog: pytest.LogCaptureFixture) -> None:
    async with probing({"acme": [], "other": [LIST]}, ONE, deployment(of=provider("other"))) as bench:
        bench.fail(ONE, SERVER)  # whose script is empty, which is an IndexError
        await bench.clock.advance(10.0)
        bench.fail(deployment(of=provider("other")), SERVER)
        await bench.clock.advance(59.0)

        assert bench.asked == ["GET /v1/models"] * 2
    assert [record.levelname for record in caplog.records if record.levelname == "ERROR"] == ["ERROR"]


class Notes:
    """A ledger that notes what it is given."""

    def __init__(self, *, full: bool = False) -> None:
        self.full = full
        self.notes: list[str] = []
        self.closed: list[Record] = []

    def begin(self, record: Record, attempt: AttemptRecord) -> None:
        """Note an intent, or reject it."""
        if self.full:
            raise Unavailable("The journal is full.")
        self.notes.append(f"begin {attempt.deployment.name} {attempt.key_id}")

    def end(self, record: Record) -> None:
        """Probes need no end before the end of an answer."""
        raise AssertionError

    def close(self, record: Record) -> None:
        """Note a finished call."""
        self.closed.append(record)


@pytest.mark.parametrize(("answer", "outcome", "status"), [(OK, "ok", 200), (E503, "error", 503)])
async def test_a_chat_call_is_recorded(answer: Answer, outcome: str, status: int) -> None:
    ledger = Notes()
    async with probing({"acme": [LIST, answer]}, chat=True, ledger=ledger) as bench:
        bench.fail(ONE, TIMEOUT)
        await bench.clock.advance(59.0)
        sent = bench.asked.count("POST /v1/chat/completions")
    [record] = ledger.closed

    assert sent == 1
    assert ledger.notes == ["begin acme/small main"]
    assert (record.outcome, record.status, record.attempts[0].outcome == "ok") == (outcome, status, outcome == "ok")
    assert record.call is not None
    assert record.call.endpoint == "probe"
    assert record.principal is not None


async def test_a_chat_call_that_cannot_be_recorded_is_not_sent() -> None:
    async with probing({"acme": [LIST]}, chat=True, ledger=Notes(full=True)) as bench:
        bench.fail(ONE, TIMEOUT)
        await bench.clock.advance(59.0)

        assert "POST /v1/chat/completions" not in bench.asked


PRICE = Price(input=1_000_000_000, output=2_000_000_000, cached_input=1_000_000_000, cache_write=1_000_000_000)
PRICED = deployment(price=PRICE)


@pytest.mark.parametrize(("answer", "whole"), [(OK, False), (E503, False), (Answer(before=[Stall()]), True)])
async def test_a_chat_call_is_settled_in_the_budgets_as_in_its_record(answer: Answer, whole: bool) -> None:
    ledger, total = Notes(), BudgetRule("total", "", 10**9)
    async with probing({"acme": [LIST, answer]}, PRICED, chat=True, ledger=ledger, budget=total) as bench:
        bench.fail(PRICED, TIMEOUT)
        await bench.clock.advance(80.0)
        [row] = await bench.budgets.read([total])
    [record] = ledger.closed

    assert row.spending == Spending(record.cost_nusd or 0)
    assert (record.attempts[0].cost_status == "estimated") == whole


async def test_no_chat_call_is_sent_that_a_hard_budget_does_not_allow() -> None:
    async with probing({"acme": [LIST]}, PRICED, chat=True, budget=BudgetRule("total", "", 1000)) as bench:
        bench.fail(PRICED, TIMEOUT)
        await bench.clock.advance(59.0)

        assert bench.asked == ["GET /v1/models"]
        assert bench.counted == []
