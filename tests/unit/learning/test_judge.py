"""The judge, over an executor with scripted upstreams."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from proxy.core.accounts import Budget
from proxy.core.call import Call
from proxy.core.learning import JudgePolicy, LearningRules, ShadowPolicy
from proxy.core.model import Price
from proxy.core.plan import Plan, Target
from proxy.core.principal import Identified
from proxy.core.record import AttemptRecord, Record
from proxy.core.snapshot import Live
from proxy.internal_calls import InternalCalls, caller_of
from proxy.learning.decisions import Decision
from proxy.learning.judge import LARGEST, MOST, SHADOW_SECONDS, SHADOWS, Drawn, Judge, Sample, drawn
from proxy.learning.labels import Label
from proxy.learning.rating import Answer
from proxy.routing.router import Router
from proxy.surfaces.openai.chat import read_chat
from tests.support import fakes
from tests.support.calls import deployment, provider, snapshot
from tests.support.clocks import VirtualClock
from tests.support.fakes import Stall
from tests.unit.upstream.bench import E400, E500, bench

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

PRICE = Price(10**9, 10**9, cached_input=10**9, cache_write=10**9)  # a dollar per million tokens
JUDGE = deployment("judge", provider("j"), price=PRICE)
WEAK = deployment("weak", provider("w"), tier="low", price=PRICE)
STRONG = deployment("strong", provider("s"), tier="high", price=PRICE)
RULES = LearningRules(judge=JudgePolicy("j/judge", share=1.0), shadow=ShadowPolicy(1.0))


def answering(text: str) -> fakes.Answer:
    body = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
    usage = {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1010}
    return fakes.Answer([json.dumps({**body, "usage": usage}).encode()], headers={"content-type": "application/json"})


GOOD, BAD, NONSENSE = answering('{"score": 8}'), answering('{"score": 1}'), answering("Well done!")


def asked(id: str = "req_1", **members: Any) -> Call:
    messages = [{"role": "user", "content": "Prove it."}]
    raw = json.dumps({"model": "auto", "messages": messages, **members}).encode()
    by = Identified("k1", key_id="k1")
    return read_chat(raw, {}, id=id, request_id="1", snapshot=snapshot(WEAK, STRONG, JUDGE), principal=by)


def sample(shadow: str | None = None, **members: Any) -> Sample:
    decision = Decision("req_1", "key:k1", "w/weak", ("w/weak", "s/strong"), 0.9, b"features")
    return Sample(asked(**members), decision, "k1", Answer("It is so."), shadow)


@dataclass
class Box:
    """A judge with the upstreams `j`, `w` and `s`, the labels that it has given, and the records of its calls."""

    script: dict[str, list[fakes.Answer]]
    rules: LearningRules | None = RULES
    labels: list[Label] = field(default_factory=list)
    calls: list[Record] = field(default_factory=list)
    degraded: bool = False

    def __post_init__(self) -> None:
        self.bench = bench(self.script, clock=VirtualClock())
        self.live = Live(snapshot(WEAK, STRONG, JUDGE, learning=self.rules))
        calls = InternalCalls(
            plan=Router(self.bench.slots).route,
            health=self.bench.slots.health_of,
            executor=self.bench.executor,
            clock=self.bench.clock,
            count_attempt=lambda *_: None,
            ledger=self,
        )
        self.judge = Judge(calls, self.live, self.bench.clock, self.labels.extend, lambda: self.degraded)

    def begin(self, record: Record, attempt: AttemptRecord) -> None:
        """Nothing to do."""

    def end(self, record: Record) -> None:
        """Nothing to do."""

    def close(self, record: Record) -> None:
        self.calls.append(record)

    @property
    def results(self) -> dict[tuple[str, str], int]:
        return {each: number for each, number in self.judge.results.items() if number}

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.content) for request in self.bench.transport.requests]


async def test_the_verdict_becomes_a_label() -> None:
    box = Box({"j": [GOOD]})

    await box.judge.judge(sample())

    [label] = box.labels
    assert (label.model, label.source, label.score, label.weight) == ("w/weak", "judge", 0.8, 0.5)
    assert (label.key_id, label.propensity, label.features) == ("k1", 0.9, b"features")
    assert box.results == {("judge", "done"): 1}


async def test_its_calls_have_a_caller_of_their_own() -> None:
    box = Box({"j": [GOOD]})

    await box.judge.judge(sample())

    [made] = box.calls
    assert (made.id, made.request_id) == ("req_1-judge-1", "req_1")
    assert made.principal is not None
    assert made.principal.key_id == "judge"


async def test_a_shadow_call_answers_and_both_answers_are_judged() -> None:
    box = Box({"s": [answering("Because.")], "j": [BAD, GOOD]})

    await box.judge.judge(sample("s/strong", stream=True, user="ann", store=True, temperature=0.5))

    assert [(each.model, each.score, each.propensity) for each in box.labels] == [
        ("w/weak", 0.1, 0.9),
        ("s/strong", 0.8, 1.0),
    ]
    assert box.bodies[0] == {
        "model": "strong",
        "messages": [{"role": "user", "content": "Prove it."}],
        "temperature": 0.5,
    }
    assert [made.principal.key_id for made in box.calls if made.principal] == ["shadow", "judge", "judge"]
    assert "Because." in box.bodies[2]["messages"][1]["content"]


async def test_an_invalid_verdict_is_asked_for_once_more() -> None:
    box = Box({"j": [NONSENSE, GOOD]})

    await box.judge.judge(sample())

    assert len(box.labels) == 1
    assert box.results == {("judge", "repaired"): 1}


@pytest.mark.parametrize(
    ("script", "result"),
    [([NONSENSE, NONSENSE], "invalid"), ([E500] * 5, "failed"), ([fakes.Answer([Stall()])], "deadline")],
)
async def test_without_a_verdict_there_is_no_label(script: list[fakes.Answer], result: str) -> None:
    box = Box({"j": script})

    await box.judge.judge(sample())

    assert box.labels == []
    assert box.results == {("judge", result): 1}


async def test_the_budget_ends_the_judgements() -> None:
    box = Box({"j": [GOOD, GOOD]}, replace(RULES, judge=JudgePolicy("j/judge", budget=3_000_000)))

    await box.judge.judge(sample())
    await box.judge.judge(sample())

    assert box.results == {("judge", "done"): 1, ("judge", "budget"): 1}


async def test_nothing_with_a_budget_is_judged_without_the_shared_state() -> None:
    rules = LearningRules(judge=JudgePolicy("j/judge", budget=10**9), shadow=ShadowPolicy(1.0, budget=10**9))
    box, free = Box({}, rules, degraded=True), Box({"s": [GOOD], "j": [GOOD, GOOD]}, degraded=True)

    for each in (box, free):
        await each.judge.judge(sample("s/strong"))

    assert box.bodies == []
    assert box.results == {("shadow", "budget"): 1, ("judge", "budget"): 1}
    assert free.results == {("shadow", "done"): 1, ("judge", "done"): 2}


async def test_shadow_calls_that_hang_do_not_stop_the_judge() -> None:
    box = Box({"s": [fakes.Answer([Stall()])] * MOST, "j": [GOOD] * (MOST + 1)})
    for _ in range(MOST):
        box.judge.put(sample("s/strong"))
    box.judge.put(sample())
    clock = box.bench.clock
    began = clock.monotonic()

    async with asyncio.TaskGroup() as tasks:
        service = tasks.create_task(box.judge.run())
        while not box.labels:
            await clock.sleep(0.1)
        judged_at, under_way = clock.monotonic(), len(box.bodies)
        while box.results.get(("shadow", "deadline"), 0) < SHADOWS:
            await clock.sleep(0.1)
        service.cancel()

    assert under_way == SHADOWS + 1
    assert judged_at - began < 1.0
    assert SHADOW_SECONDS <= clock.monotonic() - began < SHADOW_SECONDS + 1.0


async def test_a_route_with_one_price_has_a_budget() -> None:
    priced, free = deployment("judge", provider("j"), price=PRICE), deployment("judge", provider("f"))
    on = snapshot(priced, free)
    caller, without = (caller_of(on, "judge", "judge", model, budget=5, wait=1.0) for model in ("judge", "f/judge"))

    assert caller.principal.budgets == (("key", "judge", Budget(5, "day")),)
    assert without.principal.budgets == ()


async def test_a_prompt_that_is_refused_takes_no_schema_from_others() -> None:
    box = Box({"j": [E400, E400, GOOD, E400, GOOD, GOOD]})

    for _ in range(4):
        await box.judge.judge(sample())

    assert ["response_format" in body for body in box.bodies] == [True, False, True, True, False, False]
    assert box.results == {("judge", "failed"): 1, ("judge", "done"): 2, ("judge", "repaired"): 1}


async def test_a_failed_shadow_call_leaves_the_answer_to_be_judged() -> None:
    box = Box({"s": [E400], "j": [GOOD]})

    await box.judge.judge(sample("s/strong"))

    assert [each.model for each in box.labels] == ["w/weak"]
    assert box.results == {("shadow", "failed"): 1, ("judge", "done"): 1}


@pytest.mark.parametrize("rules", [None, LearningRules()])
async def test_what_was_switched_off_is_not_judged(rules: LearningRules | None) -> None:
    box = Box({}, rules)

    await box.judge.judge(sample("s/strong"))

    assert box.bodies == []


async def test_the_service_judges_what_waits_and_drops_what_is_too_much() -> None:
    box = Box({"j": [GOOD] * MOST})
    for _ in range(MOST + 3):
        box.judge.put(sample())

    async with asyncio.TaskGroup() as tasks:
        service = tasks.create_task(box.judge.run())
        while len(box.labels) < MOST:
            await box.bench.clock.sleep(1.0)
        service.cancel()

    assert box.results == {("judge", "done"): MOST, ("judge", "dropped"): 3}


async def test_an_error_of_its_own_does_not_end_the_service(caplog: pytest.LogCaptureFixture) -> None:
    box = Box({"j": [GOOD]})
    box.judge.put(replace(sample(), answer=None))  # type: ignore[arg-type]
    box.judge.put(sample())

    async with asyncio.TaskGroup() as tasks:
        service = tasks.create_task(box.judge.run())
        while not box.labels:
            await box.bench.clock.sleep(1.0)
        service.cancel()

    assert "an answer could not be judged" in caplog.text


def plan(*targets: Any) -> Plan:
    return Plan("auto", "auto", "", tuple(Target(each) for each in targets), dict)


def test_another_tier_of_the_plan_is_the_second_model() -> None:
    other = deployment("other", provider("w"), tier="low")

    assert drawn(asked(), plan(WEAK, other, STRONG), WEAK, RULES) == Drawn(judged=True, shadow="s/strong")
    assert drawn(asked(), plan(WEAK, other), WEAK, RULES) == Drawn(judged=True, shadow="w/other")
    assert drawn(asked(), plan(WEAK), WEAK, RULES) == Drawn(judged=True, shadow=None)


def test_an_answer_that_the_caller_pays_for_gets_no_shadow_call() -> None:
    key = replace(provider("w").keys[0], own=True)
    own = deployment("weak", replace(provider("w"), keys=(key,)), tier="low")
    only = deployment("strong", replace(provider("s"), user_keys="only"), tier="high")

    assert drawn(asked(), plan(WEAK, STRONG), own, RULES) == Drawn(judged=True, shadow=None)
    assert drawn(asked(), plan(WEAK, only), WEAK, RULES) == Drawn(judged=True, shadow=None)


def test_requests_with_effects_or_audio_get_no_shadow_call() -> None:
    for call in (asked(modalities=["text"]), replace(asked(), hosted=({},))):
        assert drawn(call, plan(WEAK, STRONG), WEAK, RULES) == Drawn(judged=True, shadow=None)


def test_large_requests_and_those_without_a_judge_are_not_judged() -> None:
    assert drawn(replace(asked(), raw=b" " * (LARGEST + 1)), plan(WEAK, STRONG), WEAK, RULES) is None
    assert drawn(asked(), plan(WEAK, STRONG), WEAK, LearningRules()) is None


def test_the_share_is_that_of_the_setting_and_the_id_decides() -> None:
    rules = LearningRules(judge=JudgePolicy("j/judge", share=0.2), shadow=ShadowPolicy(0.1))
    calls = [asked(f"req_{number}") for number in range(1000)]

    first = [drawn(call, plan(WEAK, STRONG), WEAK, rules) for call in calls]
    shadows = [each for each in first if each is not None and each.shadow]

    assert first == [drawn(call, plan(WEAK, STRONG), WEAK, rules) for call in calls]
    assert 60 < len(shadows) < 140
    assert 230 < sum(each is not None for each in first) < 330
