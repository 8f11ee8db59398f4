"""The service that learns: labels, versions, and going back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import msgspec
import pytest
from msgspec import structs

from proxy.core.call import Call
from proxy.core.errors import InvalidRequest, NotFound
from proxy.core.learning import LearningRules
from proxy.core.model import Kind
from proxy.core.plan import Plan, Target
from proxy.core.principal import Identified, Principal
from proxy.core.record import Outcome, Rating, Record, Timings
from proxy.core.snapshot import Live
from proxy.learning.labels import SIGNAL
from proxy.learning.memory import Decisions, LearningMemory
from proxy.learning.service import BATCH, Learning
from proxy.routing.classify.packed import pack
from proxy.routing.predict import PRIOR, Predictor
from proxy.store.errors import StoreUnavailable
from proxy.surfaces.table import SURFACES
from tests.support.fakes import FakeClock
from tests.unit.learning.build import EASY, STRONG, WEAK, profile, world
from tests.unit.routing.build import MINI, OPUS, call, snapshot

RULES = LearningRules(signals=True, explore=0.1)
CHAT = SURFACES["/v1/chat/completions"]
ANN, BEN = Identified("ann", user="ann"), Identified("ben", user="ben")


class Predicts:
    predictor: Predictor = PRIOR


class Refusing(LearningMemory):
    """A store that does not work at first."""

    def __init__(self) -> None:
        super().__init__()
        self.works = False
        self.decided: list[Any] = []

    async def add_decisions(self, rows: Sequence[Any]) -> None:
        self._check()
        self.decided += rows

    async def add_labels(self, labels: Sequence[Any]) -> None:
        self._check()
        await super().add_labels(labels)

    def _check(self) -> None:
        if not self.works:
            raise StoreUnavailable("it does not work")


class Bench:
    """The service over a store, as one of several processes."""

    def __init__(self, store: LearningMemory | None = None, rules: LearningRules | None = RULES) -> None:
        self.store, self.router, self.clock = store or LearningMemory(), Predicts(), FakeClock()
        self.live = Live(replace(snapshot(MINI, OPUS), learning=rules))
        self.service = Learning(self.store, self.live, self.router, self.clock)

    async def give(self, count: int, **fields: Any) -> None:
        """Store labels of a world in which the strong model is better at hard prompts."""
        start = int(self.clock.time() * 1e6) - 20_000_000
        labels = [structs.replace(each, time=start + each.time, **fields) for each in world(count)]
        await self.store.add_labels([structs.asdict(each) for each in labels])

    async def learn(self, count: int = 300) -> int:
        """Let the service learn from labels; return the version in use."""
        await self.give(count)
        await self.service.step()
        return self.version

    @property
    def version(self) -> int:
        name, _, number = self.router.predictor.version.partition(" ")
        return int(number) if name == "learned" else 0


def asked(id: str = "req_1", principal: Principal = ANN, number: int = 1) -> tuple[Call, Plan]:
    """A routed call to two models, and its plan."""
    packed = pack(profile(EASY, number))
    plan = Plan("auto", "auto", "", (Target(MINI), Target(OPUS)), dict, features=lambda: packed, propensity=0.7)
    live = replace(snapshot(MINI, OPUS), learning=RULES)
    return replace(call("auto", f"prompt {number}", on=live), id=id, principal=principal, raw=b"%d" % number), plan


def ended(id: str, finish: str = "stop", number: int = 1, outcome: Outcome = Outcome.OK) -> Record:
    """The record of a call that the first target has answered."""
    record = Record(id, "x", Timings(0.0))
    record.call, record.plan = asked(id, number=number)
    record.principal, record.chosen, record.finish_reason = ANN, MINI, finish
    record.end(outcome)
    return record


async def test_a_routed_prompt_can_be_judged() -> None:
    bench = Bench()
    bench.service.routed(*asked())

    label = await bench.service.give(ANN, "req_1", 0.5, None)

    assert (label.model, label.score, label.propensity, label.key_id) == (WEAK, 0.5, 0.7, "ann")
    assert await bench.store.labels(0, 10) == [structs.asdict(label)]


async def test_another_target_of_the_decision_can_be_judged() -> None:
    bench = Bench()
    bench.service.routed(*asked())

    label = await bench.service.give(ANN, "req_1", 1.0, STRONG)

    assert (label.model, label.propensity) == (STRONG, 1.0)
    with pytest.raises(InvalidRequest, match="the decision for this id lists"):
        await bench.service.give(ANN, "req_1", 1.0, "openai/else")


async def test_the_model_that_answered_is_judged_after_a_fallback() -> None:
    bench, record = Bench(), ended("req_1")
    record.chosen = OPUS
    bench.service.answered(record)

    label = await bench.service.give(ANN, "req_1", 1.0, None)

    assert (label.model, label.propensity) == (STRONG, 1.0)


def named(id: str = "req_1", kind: Kind = "chat", classifier: Literal["rules", "model"] = "model") -> Record:
    """The record of a call to a model by its name."""
    record, live = ended(id), replace(snapshot(MINI, OPUS), learning=RULES, classifier=classifier)
    asked = call("openai/mini", "Which verse follows?", on=live)
    record.call = replace(asked, id=id, principal=ANN, kind=kind)
    record.plan = Plan("openai/mini", "direct", "", (Target(MINI),), dict)
    return record


async def test_the_answer_of_a_model_that_the_client_named_can_be_judged() -> None:
    bench, record = Bench(), named()
    bench.service.named(record)
    features = record.plan.features() if record.plan else None

    label = await bench.service.give(ANN, "req_1", 0.0, None)
    await bench.service.flush()

    assert features is not None
    assert (label.model, label.propensity, label.features) == (WEAK, 1.0, features)
    assert await bench.store.labels(0, 10) == [structs.asdict(label)]  # and no rating, which only `auto` has


@pytest.mark.parametrize("record", [named(kind="embeddings"), named(classifier="rules")])
async def test_a_prompt_without_features_is_not_remembered(record: Record) -> None:
    bench = Bench()
    bench.service.named(record)

    with pytest.raises(NotFound):
        await bench.service.give(ANN, "req_1", 0.0, None)


@pytest.mark.parametrize(("principal", "id"), [(BEN, "req_1"), (ANN, "req_2"), (ANN, "x" * 500)])
async def test_ids_that_are_not_the_callers_are_unknown(principal: Principal, id: str) -> None:
    bench = Bench()
    bench.service.routed(*asked())

    with pytest.raises(NotFound):
        await bench.service.give(principal, id, 1.0, None)


async def test_a_decision_of_another_process_is_found_after_a_moment() -> None:
    class Late(LearningMemory):
        shared = True
        asked = 0

        async def decision(self, id: str) -> Any:
            self.asked += 1
            about = msgspec.json.encode({"chosen": WEAK, "targets": [WEAK], "propensity": 0.5})
            row = {"id": id, "tenant": ANN.tenant, "features": b"x", "decision": about}
            return row if self.asked > 1 and id == "req_1" else None

    bench = Bench(Late())

    assert (await bench.service.give(ANN, "req_1", 1.0, None)).propensity == 0.5
    with pytest.raises(NotFound):
        await bench.service.give(ANN, "req_2", 1.0, None)


async def test_a_comment_is_kept_only_where_the_configuration_keeps_comments() -> None:
    bench, off = Bench(rules=replace(RULES, comments=True)), Bench()
    for each in (bench, off):
        each.service.routed(*asked())

    await bench.service.give(ANN, "req_1", 0.5, None, "too long")

    [found] = await bench.service.judgements("req_1")
    assert (found["source"], found["model"], found["score"], found["comment"]) == ("feedback", WEAK, 0.5, "too long")
    with pytest.raises(InvalidRequest, match="this server keeps no comments"):
        await off.service.give(ANN, "req_1", 0.5, None, "too long")
    assert await off.service.judgements("req_1") == []


async def test_labels_of_admins_are_not_bounded() -> None:
    bench, admin = Bench(), Identified("root", key_id="k1", role="admin")
    bench.service.routed(*asked(principal=admin))

    assert (await bench.service.give(admin, "req_1", 1.0, None)).key_id is None


async def test_a_version_serves_when_there_are_enough_labels() -> None:
    bench = Bench()

    assert await bench.learn(40) == 0
    assert await bench.learn(300) == 1
    assert (await bench.service.status())["labels"] == {STRONG: 300, WEAK: 300}


async def test_one_key_alone_is_never_learned_from() -> None:
    bench = Bench(rules=replace(RULES, least=20))
    labels = [structs.replace(each, key_id="k1") for each in world(1000) if each.model == WEAK]
    await bench.store.add_labels([structs.asdict(each) for each in labels])

    await bench.service.step()

    assert bench.version == 0
    assert (await bench.service.status())["last_rejected"]["counted"] == {WEAK: 10.0}


async def test_one_key_that_is_trusted_is_learned_from() -> None:
    bench = Bench(rules=replace(RULES, key_share=1.0))
    await bench.give(300, key_id="k1")

    await bench.service.step()

    assert bench.version == 1


async def test_an_admin_judges_answers_of_every_caller() -> None:
    bench = Bench()
    bench.service.routed(*asked())

    assert (await bench.service.give(Identified("root", key_id="k1", role="admin"), "req_1", 1.0, None)).score == 1.0


async def test_one_key_cannot_displace_the_labels_of_others() -> None:
    store = LearningMemory()
    flood = [
        structs.replace(each, call_id=f"flood_{each.time}", time=500 + each.time, key_id="k1") for each in world(100)
    ]
    await store.add_labels([structs.asdict(each) for each in (*world(50), *flood)])

    found = await store.labels(0, 120, 20)

    assert [each["key_id"] for each in found] == [None] * 100 + ["k1"] * 20
    assert found[-1]["time"] == 599


async def test_another_process_uses_the_same_version() -> None:
    first = Bench()
    await first.learn()
    second = Bench(first.store)

    await second.service.start()

    assert second.version == 1


async def test_no_version_is_made_for_a_few_new_labels_until_no_more_come() -> None:
    bench = Bench()
    await bench.learn(300)
    bench.service.routed(*asked())
    await bench.service.give(ANN, "req_1", 0.0, None)

    await bench.service.step()
    before = bench.version
    bench.clock.pass_(11.0)
    await bench.service.step()

    assert BATCH > 1
    assert (before, bench.version) == (1, 2)


async def test_a_version_is_followed_by_a_pause() -> None:
    bench = Bench()
    bench.service._paused_until = bench.clock.monotonic() + 5.0  # noqa: SLF001 - as after a long computation

    assert await bench.learn() == 0
    bench.clock.pass_(5.0)
    await bench.service.step()
    assert bench.version == 1


async def test_a_start_does_not_wait_for_a_slow_store(caplog: pytest.LogCaptureFixture) -> None:
    class Slow(LearningMemory):
        async def newest(self) -> tuple[int, Any]:
            raise TimeoutError

    bench = Bench(Slow())

    await bench.service.start()

    assert (bench.version, caplog.records) == (0, [])


async def test_an_update_makes_a_version_of_a_few_new_labels() -> None:
    bench = Bench()
    await bench.learn(300)
    bench.service.routed(*asked())
    await bench.service.give(ANN, "req_1", 0.0, None)

    status = await bench.service.update()

    assert (status["version"], bench.version) == (2, 2)


@pytest.mark.parametrize("changes", [{"frozen": True}, {"version": 0}])
async def test_an_update_of_a_frozen_service_is_rejected(changes: dict[str, Any]) -> None:
    bench = Bench()
    await bench.give(300)
    await bench.service.change(**changes)

    with pytest.raises(InvalidRequest, match="frozen or rolled back"):
        await bench.service.update()


async def test_an_update_without_learning_is_rejected() -> None:
    with pytest.raises(InvalidRequest, match=r"`learning\.enabled` is not set"):
        await Bench(rules=None).service.update()


async def test_a_frozen_service_makes_no_version() -> None:
    bench = Bench()
    await bench.service.change(frozen=True)

    assert await bench.learn() == 0
    await bench.service.change(frozen=False)
    await bench.service.step()
    assert bench.version == 1


async def test_an_earlier_version_serves_after_a_rollback() -> None:
    bench = Bench()
    await bench.learn(300)
    bench.clock.pass_(60.0)
    await bench.learn(400)
    assert bench.version == 2

    status = await bench.service.roll_back(None)

    assert (status["version"], status["rolled_back"], bench.version) == (1, True, 1)
    with pytest.raises(InvalidRequest, match="that is kept: 2, 1, or 0, the prior"):
        await bench.service.roll_back(9)
    await bench.service.change(version=None)
    assert bench.version == 2


async def test_the_prior_serves_after_a_rollback_of_the_first_version() -> None:
    bench = Bench()
    await bench.learn(300)

    status = await bench.service.roll_back(None)
    await bench.service.step()

    assert (status["version"], status["rolled_back"], bench.version) == (0, True, 0)
    assert status["labels"]
    with pytest.raises(InvalidRequest, match="The prior serves already"):
        await bench.service.roll_back(None)
    await bench.service.change(version=None)
    assert bench.version == 1


async def test_a_reset_returns_to_the_prior_and_labels_do_not_count_any_more() -> None:
    bench = Bench()
    await bench.learn()

    status = await bench.service.reset()
    await bench.service.step()

    assert (status["version"], status["labels"], bench.version) == (0, {}, 0)
    bench.clock.pass_(60.0)
    assert await bench.learn() == 2


async def test_a_disabled_service_uses_the_prior_and_takes_labels() -> None:
    bench = Bench(rules=None)
    bench.service.routed(*asked())

    await bench.service.give(ANN, "req_1", 1.0, None)

    assert await bench.learn() == 0
    assert bench.service.explore(asked()[0]) == RULES.explore


async def test_what_was_learned_is_dropped_when_learning_is_disabled() -> None:
    bench = Bench()
    await bench.learn()

    bench.live.snapshot = replace(bench.live.snapshot, learning=None)
    await bench.service.step()

    assert bench.router.predictor is PRIOR


@pytest.mark.parametrize(("finish", "score"), [("stop", 1.0), ("content_filter", 0.0), ("length", 0.0)])
async def test_the_end_of_a_call_is_a_signal(finish: str, score: float) -> None:
    bench = Bench()
    bench.service.answered(ended("req_1", finish))

    await bench.service.flush()

    [label] = await bench.store.labels(0, 10)
    assert (label["source"], label["score"]) == (SIGNAL, score)


async def test_the_same_request_again_within_a_minute_is_a_bad_signal() -> None:
    bench = Bench()
    bench.service.answered(ended("req_1"))
    bench.service.answered(ended("req_2"))
    bench.service.answered(ended("req_3", number=2))
    bench.clock.pass_(61.0)
    bench.service.answered(ended("req_4", number=2))

    await bench.service.flush()

    scores = {label["call_id"]: label["score"] for label in await bench.store.labels(0, 10)}
    assert scores == {"req_1": 0.0, "req_2": 1.0, "req_3": 1.0, "req_4": 1.0}


async def test_failed_calls_and_calls_without_the_setting_are_no_signals() -> None:
    bench, off = Bench(), Bench(rules=replace(RULES, signals=False))
    bench.service.answered(ended("req_1", outcome=Outcome.ERROR))
    off.service.answered(ended("req_1"))

    await bench.service.flush()
    await off.service.flush()

    assert await bench.store.labels(0, 10) == await off.store.labels(0, 10) == []


async def test_the_rating_of_an_answer_is_a_signal() -> None:
    bench, record = Bench(), ended("req_1")
    record.rating = Rating(0.2, ("other language",))

    bench.service.answered(record)
    await bench.service.flush()

    [label] = await bench.store.labels(0, 10)
    assert label["score"] == 0.2


@pytest.mark.parametrize(
    ("rules", "conversation"), [(RULES, None), (replace(RULES, signals=False), b"x"), (None, b"x")]
)
def test_only_answers_of_auto_are_read_and_only_for_signals(
    rules: LearningRules | None, conversation: bytes | None
) -> None:
    record = ended("req_1")
    call, plan = asked()
    plan.conversation, record.plan = conversation, plan

    call = replace(call, snapshot=replace(call.snapshot, learning=rules))

    assert Bench().service.watch(call, record, None, CHAT) is None


def test_an_answer_that_is_read_is_rated() -> None:
    record = ended("req_1")
    call, plan = asked()
    plan.conversation, record.plan = b"x", plan
    reading = Bench().service.watch(call, record, None, CHAT)
    assert reading is not None

    reading.feed(b'{"choices": [{"message": {"content": ""}}]}')
    reading.finish()

    assert record.rating == (0.0, ("empty",))


async def test_signals_stay_until_the_store_takes_them() -> None:
    bench = Bench(Refusing())
    bench.service.answered(ended("req_1"))
    bench.service.routed(*asked("req_2"))
    with pytest.raises(StoreUnavailable):
        await bench.service.flush()
    bench.service.answered(ended("req_3", number=2))
    bench.store.works = True

    await bench.service.flush()
    await bench.service.flush()

    assert [label["call_id"] for label in await bench.store.labels(0, 10)] == ["req_1", "req_3"]
    assert [row["id"] for row in bench.store.decided] == ["req_2"]


@pytest.mark.parametrize("failures", [1, 2])
async def test_feedback_is_written_again_if_the_store_is_busy(failures: int) -> None:
    class Busy(LearningMemory):
        left = failures

        async def add_labels(self, labels: Sequence[Any]) -> None:
            self.left -= 1
            if self.left >= 0:
                raise StoreUnavailable("all connections are in use")
            await super().add_labels(labels)

    bench = Bench(Busy())
    bench.service.routed(*asked())

    label = await bench.service.give(ANN, "req_1", 1.0, None)

    assert await bench.store.labels(0, 10) == [structs.asdict(label)]
    assert bench.clock.slept == [0.2, 1.0][:failures]


async def test_feedback_that_cannot_be_written_is_an_error() -> None:
    bench = Bench(Refusing())
    bench.service.routed(*asked())

    with pytest.raises(StoreUnavailable):
        await bench.service.give(ANN, "req_1", 1.0, None)


async def test_old_decisions_are_forgotten() -> None:
    service = Bench().service
    service._decisions = Decisions(2)  # noqa: SLF001 - a small memory

    for number in range(3):
        service.routed(*asked(f"req_{number}"))

    with pytest.raises(NotFound):
        await service.give(ANN, "req_0", 1.0, None)
    assert (await service.give(ANN, "req_1", 1.0, None)).call_id == "req_1"
