"""The classifier that asks a model, over an executor with scripted upstreams."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from proxy.classifier import FAILURES, NOT_ASKED, PAUSE_SECONDS, AskingClassifier
from proxy.core.call import Call
from proxy.core.model import Deployment, Price
from proxy.core.plan import Plan
from proxy.core.policies import BreakerPolicy, LlmClassifierPolicy
from proxy.core.principal import Identified
from proxy.core.record import AttemptRecord, Record
from proxy.core.snapshot import Snapshot
from proxy.internal_calls import InternalCalls
from proxy.routing.classify.rules import RULES, Profile
from proxy.routing.router import Router
from proxy.surfaces.openai.chat import read_chat
from tests.support.calls import deployment, provider, snapshot
from tests.support.clocks import VirtualClock
from tests.support.fakes import Answer, Stall, Wait
from tests.unit.upstream.bench import E500, Bench, bench, refusal

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

VALID = '{"task": "math", "difficulty": 7, "needs": []}'
PRICE = Price(10**9, 10**9, cached_input=10**9, cache_write=10**9)  # a dollar per million tokens


def answering(text: Any, *before: Wait) -> Answer:
    body = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
    usage = {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010}
    return Answer(
        [*before, json.dumps({**body, "usage": usage}).encode()], headers={"content-type": "application/json"}
    )


OK = answering(VALID)
NONSENSE = answering("Sure!")
ASKED = ("math", 0.6743, "llm a/m")


@dataclass
class Box:
    """A classifier with the upstream `a`, and everything that it has recorded."""

    bench: Bench
    config: Snapshot
    classifier: AskingClassifier = field(init=False)
    calls: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.router = Router(self.bench.slots)
        calls = InternalCalls(
            plan=self.router.route,
            health=self.bench.slots.health_of,
            executor=self.bench.executor,
            clock=self.bench.clock,
            count_attempt=lambda *_: None,
            ledger=self,
        )
        self.classifier = self.router.llm = AskingClassifier(calls=calls, clock=self.bench.clock)

    def begin(self, record: Record, attempt: AttemptRecord) -> None:
        """Nothing to do: intents are the executor's."""

    def end(self, record: Record) -> None:
        """Nothing to do."""

    def close(self, record: Record) -> None:
        self.calls.append(record)

    def call(self, text: str = "Prove it.", *, by: str = "k1", config: Snapshot | None = None) -> Call:
        raw = json.dumps({"model": "auto", "messages": [{"role": "user", "content": text}]}).encode()
        by_key = Identified(by, key_id=by)
        return read_chat(raw, {}, id="req_1", request_id="1", snapshot=config or self.config, principal=by_key)

    async def ask(self, text: str = "Prove it.", **more: Any) -> Profile:
        call = self.call(text, **more)
        return await self.classifier.classify(call, RULES.classify(call))

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.content) for request in self.bench.transport.requests]


def box(*script: Answer, breaker: BreakerPolicy | None = None, of: Deployment | None = None, **policy: Any) -> Box:
    judge = of or deployment("m", provider("a"), price=PRICE)
    policy.setdefault("deadline", 1.0)
    config = snapshot(judge, llm_classifier=LlmClassifierPolicy("a/m", **policy))
    return Box(bench({"a": list(script)}, breaker, clock=VirtualClock()), config)


def seen(profile: Profile) -> tuple[str, float, str]:
    return profile.task, profile.score, profile.classifier


async def test_the_model_s_answer_becomes_the_profile() -> None:
    b = box(OK)

    assert seen(await b.ask()) == ASKED
    assert b.bodies[0]["model"] == "m"
    assert b.bodies[0]["response_format"]["type"] == "json_schema"


async def test_the_same_prompt_of_the_same_tenant_is_asked_once() -> None:
    b = box(OK, OK)

    first, second, other = await b.ask(), await b.ask(), await b.ask(by="k2")

    assert first == second == other
    assert len(b.bodies) == 2
    assert b.classifier.results == {**dict.fromkeys(b.classifier.results, 0), "asked": 2, "cached": 1}


async def test_the_least_recently_used_answer_is_forgotten() -> None:
    b = box(OK, OK, OK, OK, cache=2)

    for text in ("one", "two", "one", "three", "one", "two"):
        await b.ask(text)

    assert len(b.bodies) == 4


async def test_the_call_has_a_record_of_its_own() -> None:
    b = box(OK)

    await b.ask()

    [made] = b.calls
    assert (made.id, made.request_id) == ("req_1-classifier-1", "req_1")
    assert made.principal is not None
    assert made.call is not None
    assert (made.principal.key_id, made.call.endpoint, made.call.options.client_id) == (
        "classifier",
        "classify",
        "classifier",
    )
    assert (made.outcome, made.status, made.cost_nusd) == ("ok", 200, 1_010_000)


async def test_an_invalid_answer_is_repaired_once() -> None:
    b = box(NONSENSE, OK)

    assert seen(await b.ask()) == ASKED
    assert [each["role"] for each in b.bodies[1]["messages"]] == ["system", "user", "assistant", "user"]
    assert b.classifier.results["repaired"] == 1


@pytest.mark.parametrize("text", ["Sure!", None, 7, '{"task": "math"}'])
async def test_two_invalid_answers_leave_the_local_profile(text: Any) -> None:
    b = box(answering(text), answering(text))

    profile = await b.ask()

    assert (profile.classifier, profile.fallback) == ("rules", "invalid answer")
    assert len(b.bodies) == 2


async def test_a_refused_schema_is_not_sent_again() -> None:
    b = box(refusal(400, "Unknown parameter: response_format"), OK, OK)

    profiles = [seen(await b.ask("one")), seen(await b.ask("two"))]

    assert profiles == [ASKED, ASKED]
    assert ["response_format" in body for body in b.bodies] == [True, False, False]


async def test_a_model_without_structured_output_gets_no_schema() -> None:
    b = box(OK, of=deployment("m", provider("a"), capabilities=frozenset({"tools"})))

    await b.ask()

    assert "response_format" not in b.bodies[0]


async def test_a_call_waits_for_the_profile_until_the_deadline() -> None:
    b = box(Answer([Stall()]), deadline=0.3)

    profile = await b.ask()

    assert (profile.classifier, profile.fallback) == ("rules", "deadline")
    assert profile.waited == pytest.approx(0.3)
    [made] = b.calls
    assert (made.outcome, made.status, made.code) == ("error", 504, "deadline_exceeded")
    assert b.bench.transport.open == 0


async def test_a_failed_model_leaves_the_local_profile() -> None:
    b = box(E500, E500)

    assert (await b.ask()).fallback == "its model has failed"
    assert b.calls[0].outcome == "error"


async def test_an_open_breaker_is_not_forced() -> None:
    b = box(E500, breaker=BreakerPolicy(consecutive=1))

    await b.ask()

    assert (await b.ask("again")).fallback == "its model has failed"
    assert len(b.bodies) == len(b.calls) == 1


async def test_after_repeated_failures_calls_do_not_wait() -> None:
    b = box(*[refusal(400)] * (2 * FAILURES), OK)  # each is asked again, without the schema
    for number in range(FAILURES):
        await b.ask(str(number))
    sent = len(b.bodies)

    paused = await b.ask()
    b.bench.clock.pass_(PAUSE_SECONDS)

    assert (paused.fallback, len(b.bodies)) == ("paused after failures", sent)
    assert seen(await b.ask()) == ASKED


@pytest.mark.parametrize("failure", [refusal(400), answering("no")])
async def test_prompts_without_an_answer_pause_no_other_tenant(failure: Answer) -> None:
    b = box(*[failure] * 2 * FAILURES, OK)
    for number in range(FAILURES):
        await b.ask(str(number))
    while len(b.bodies) < 2 * FAILURES:
        await b.ask(by=f"k{len(b.bodies)}")

    assert (await b.ask()).fallback == "paused after failures"
    assert seen(await b.ask(by="other")) == ASKED


async def test_the_budget_ends_the_questions() -> None:
    b = box(OK, OK, budget=3_000_000)  # a question reserves more than the half of it, and costs as much

    first, second = await b.ask("one"), await b.ask("two")

    assert (seen(first), second.fallback) == (ASKED, "its budget is used up")
    assert (len(b.bodies), len(b.calls)) == (1, 1)


async def test_a_model_without_a_price_has_no_budget() -> None:
    b = box(OK, of=deployment("m", provider("a")), budget=0)

    assert seen(await b.ask()) == ASKED


async def test_a_prompt_without_text_is_not_asked() -> None:
    b = box()

    assert (await b.ask(" ")).fallback == "no text"


async def test_auto_is_planned_by_the_model_s_profile() -> None:
    b = box(OK)

    planned: Plan = await b.router.route(b.call())

    assert planned.decision["profile"]["classifier"] == "llm a/m"
    assert planned.decision["profile"]["tier"] == "high"


@pytest.mark.parametrize(("needs", "bonus"), [('["files"]', True), ("[]", False)])
async def test_a_capability_that_the_model_names_is_a_boost(needs: str, bonus: bool) -> None:
    chat = VALID.replace("math", "chat").replace("[]", needs)
    b = box(answering(chat), of=deployment("m", provider("a"), capabilities=frozenset({"files"})))

    [candidate] = (await b.router.route(b.call())).decision["candidates"]

    assert (candidate["terms"]["capability"] > 0) is bonus


async def test_without_leave_to_ask_only_a_remembered_answer_counts() -> None:
    b = box(OK)

    local = await b.router.route(b.call(), ask=False)
    assert (b.bodies, local.decision["profile"]["fallback"]) == ([], NOT_ASKED)
    await b.router.route(b.call())
    remembered = await b.router.route(b.call(), ask=False)

    assert (len(b.bodies), remembered.decision["profile"]["classifier"]) == (1, "llm a/m")


async def test_a_direct_call_asks_nothing() -> None:
    b = box()
    raw = b'{"model": "a/m", "messages": [{"role": "user", "content": "Hi"}]}'

    planned = await b.router.route(read_chat(raw, {}, id="r", request_id="r", snapshot=b.config))

    assert planned.decision["profile"] is None


async def test_a_changed_model_has_no_answers_of_the_one_before() -> None:
    b = box(OK, OK)
    other = snapshot(*b.config.deployments.values(), llm_classifier=LlmClassifierPolicy("m"))

    await b.ask()
    profile = await b.ask(config=other)

    assert (profile.classifier, len(b.bodies)) == ("llm m", 2)
