"""Tests of proxy/replay/learned.py."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from proxy.core.call import Call
from proxy.core.learning import LearningRules
from proxy.core.plan import Plan
from proxy.learning.fit import examples_of, fit_and_check
from proxy.learning.ridge import finish
from proxy.replay.learned import Predictors, Version
from proxy.replay.recorded import recorded
from proxy.replay.replay import Replay
from proxy.routing.classify.packed import unpack
from proxy.routing.classify.rules import Profile
from proxy.routing.learned import LearnedPredictor, State, encode
from proxy.routing.predict import PRIOR, Predictor
from proxy.routing.router import Router
from tests.unit.learning.build import HARD, STRONG, WEAK, profile, world
from tests.unit.replay.records import START, a_call, row
from tests.unit.routing.build import FixedHealth, call, snapshot

SNAPSHOT = snapshot()
FIRST, SECOND = 4, 5  # versions, which were made 100 and 200 seconds after the start


class Hard:
    """A classifier that gives every prompt the word at which the weak model fails."""

    def classify(self, call: Call) -> Profile:
        return replace(profile(HARD, 3, score=0.45), classifier="model 1 0")


@pytest.fixture(scope="module")
def state() -> State:
    made = finish(
        fit_and_check(FIRST, finish(examples_of(world(400), 0.2)), {WEAK: "low", STRONG: "high"}, LearningRules(), None)
    )
    assert isinstance(made, State)
    return made


@pytest.fixture(scope="module")
def versions(state: State) -> list[Version]:
    second = msgspec.structs.replace(state, version=SECOND, models={})
    return [
        Version(FIRST, (START + 100) * 1_000_000, encode(state)),
        Version(SECOND, (START + 200) * 1_000_000, encode(second)),
    ]


async def planned(predictor: Predictor) -> Plan:
    router = Router(FixedHealth(), classifier=Hard())
    router.predictor = predictor
    return await router.route(call("auto"))


@pytest.mark.parametrize("learned", [True, False])
async def test_a_call_is_decided_by_what_served_then(state: State, versions: list[Version], learned: bool) -> None:
    plan = await planned(LearnedPredictor(state) if learned else PRIOR)
    then = row(at=150 if learned else 50, decision=msgspec.json.encode(dict(plan.decision)), features=plan.features())
    served = {"provider": plan.targets[0].deployment.provider.name, "upstream_model": plan.targets[0].deployment.model}
    expected = plan.decision["candidates"][0]["predicted_success"]

    replay = Replay(SNAPSHOT, predictor_of=Predictors(versions, (FIRST, SECOND)).of)
    found = replay.replay(recorded(msgspec.structs.replace(then, **served)))

    assert found.after is not None
    assert (found.moved, round(found.after.success or 0, 4)) == (False, expected)


async def test_the_profile_of_a_recorded_call_is_without_what_was_learned(state: State) -> None:
    plan = await planned(LearnedPredictor(state))
    features = plan.features()
    assert features is not None

    found = recorded(row(decision=msgspec.json.encode(dict(plan.decision)), features=features)).profile

    before = profile(HARD, 3, score=0.45)
    assert found is not None
    assert plan.decision["profile"]["score"] != before.score
    assert (found.score, found.tier, (found.inputs, found.hashed)) == (before.score, before.tier, unpack(features))


@pytest.mark.parametrize(
    ("at", "predictor", "serving", "expected"),
    [
        (50, "prior 1", (FIRST, SECOND), "prior 1"),  # nothing was learned yet
        (150, "prior 1", (FIRST, SECOND), "learned 4"),  # it did not learn then
        (250, "prior 1", (FIRST, SECOND), "learned 5"),
        (250, "prior 1", (SECOND,), "learned 5"),
        (150, "prior 1", (SECOND,), "prior 1"),  # the first was taken out of use by a reset
        (250, "prior 1", (FIRST,), "learned 4"),  # the second, by a rollback
        (250, "learned 4", (FIRST, SECOND), "learned 4"),  # it had been rolled back then
        (50, "learned 3", (FIRST, SECOND), "learned 4"),  # not kept any more
        (50, "learned x", (FIRST, SECOND), "prior 1"),
        (250, None, (FIRST, SECOND), "learned 5"),  # a call to a named model
    ],
)
def test_the_version_of_a_call(
    versions: list[Version], at: float, predictor: str | None, serving: tuple[int, ...], expected: str
) -> None:
    decided = a_call(at=at)
    decided = replace(decided, decision={**decided.decision, "ranking": {"predictor": predictor}})

    assert Predictors(versions, serving).of(decided).version == expected


def test_without_versions_the_prior_predicts() -> None:
    decided = a_call()

    assert Predictors((), ()).of(replace(decided, decision={"ranking": {"predictor": "learned 3"}})) is PRIOR
