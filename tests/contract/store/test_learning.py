"""Labels, versions and the state of learning, in each database."""

from __future__ import annotations

import random
from typing import Any

import pytest

from proxy.core.ledger import CallRow
from proxy.store.database import Database
from proxy.store.learning import LearningStore
from proxy.store.ledger import LedgerStore
from proxy.store.retention import Retention
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio

DAY = 86_400.0


@pytest.fixture
def store(database: Database) -> LearningStore:
    return LearningStore(database)


def label(id: str, time: int = 1, **fields: Any) -> dict[str, Any]:
    values = {"call_id": id, "model": "acme/small", "source": "feedback", "time": time, "key_id": None}
    return values | {"score": 1.0, "weight": 1.0, "propensity": 0.5, "features": b"\x01\x00", **fields}


async def test_the_newest_labels_are_listed_with_the_oldest_first(store: LearningStore) -> None:
    await store.add_labels([label("a", 1), label("c", 3), label("b", 2)])

    assert [each["call_id"] for each in await store.labels(0, 10)] == ["a", "b", "c"]
    assert [each["call_id"] for each in await store.labels(2, 10)] == ["b", "c"]
    assert await store.labels(0, 1) == [label("c", 3)]


async def test_one_key_cannot_displace_the_labels_of_others(store: LearningStore) -> None:
    await store.add_labels([label(f"free{time}", time) for time in range(3)])
    await store.add_labels([label(f"other{time}", time, key_id="k2") for time in range(3, 5)])
    await store.add_labels([label(f"flood{time}", time, key_id="k1") for time in range(5, 30)])

    found = await store.labels(1, 6, 2)

    assert [each["call_id"] for each in found] == ["free1", "free2", "other3", "other4", "flood28", "flood29"]
    assert [each["time"] for each in await store.labels(0, 2, 3)] == [28, 29]


async def test_a_label_takes_the_place_of_an_earlier_one_of_its_source(store: LearningStore) -> None:
    await store.add_labels([label("a", 1), label("a", 1, source="signal"), label("a", 1, model="acme/large")])
    await store.add_labels([label("a", 2, score=0.0)])

    found = await store.labels(0, 10)

    assert len(found) == 3
    assert found[-1] == label("a", 2, score=0.0)


async def test_the_labels_of_each_model_are_counted(store: LearningStore) -> None:
    await store.add_labels([label("a", 1), label("b", 2), label("b", 2, model="acme/large"), label("c", 3)])

    assert await store.counts(2, 10) == {"acme/small": 2, "acme/large": 1}
    assert await store.counts(0, 1) == {"acme/small": 1}


async def test_an_answer_with_a_rating_and_feedback_is_counted_once(store: LearningStore) -> None:
    await store.add_labels([label("a", 1), label("a", 2, source="signal"), label("b", 3, source="signal")])

    assert await store.counts(0, 10) == {"acme/small": 2}


async def test_the_judgements_of_a_call_have_comments(store: LearningStore) -> None:
    await store.add_labels([label("a", 1, comment="too long"), label("a", 2, source="signal"), label("b", 3)])

    found = await store.judgements("a")

    assert [(each["source"], each["time"], each["comment"]) for each in found] == [
        ("feedback", 1, "too long"),
        ("signal", 2, None),
    ]


async def test_the_decision_of_a_routed_prompt_is_found(store: LearningStore) -> None:
    row = {"id": "req_1", "time": 5, "tenant": "-", "decision": b"{}", "features": None}
    await store.add_decisions([row])

    assert await store.decision("req_1") == row
    assert await store.decision("req_2") is None


async def test_the_decision_of_a_call_is_found(store: LearningStore, database: Database) -> None:
    call = CallRow(
        id="req_1",
        request_id="x",
        time=1,
        endpoint="chat",
        team="red",
        provider="acme",
        upstream_model="small",
        decision=b"{}",
        features=b"\x01",
    )
    await LedgerStore(database).write([call], [])

    found = await store.decision("req_1")

    assert found is not None
    assert (found["team_id"], found["provider"], found["upstream_model"]) == ("red", "acme", "small")
    assert (found["decision"], found["features"]) == (b"{}", b"\x01")


async def test_a_version_is_published_once_and_old_ones_are_dropped(store: LearningStore) -> None:
    assert [await store.publish(number, number, b"%d" % number, 2) for number in (1, 2, 3, 4)] == [True] * 4
    assert not await store.publish(4, 9, b"other", 2)

    assert await store.versions() == [(4, 4), (3, 3), (2, 2)]
    assert await store.load(4) == b"4"
    assert await store.load(1) is None


async def test_the_state_of_learning_is_replaced(store: LearningStore) -> None:
    assert await store.newest() == (0, {})

    await store.control({"frozen": True})
    await store.control({"frozen": False, "version": 3})

    assert await store.newest() == (0, {"frozen": False, "version": 3})


async def test_old_labels_and_decisions_are_deleted(store: LearningStore, database: Database) -> None:
    clock = FakeClock()
    old, new = (int((clock.time() - days * DAY) * 1e6) for days in (5, 1))
    await store.add_labels([label("a", old), label("b", new)])
    about = {"tenant": "-", "decision": b"{}", "features": None}
    await store.add_decisions([{"id": "a", "time": old, **about}, {"id": "b", "time": new, **about}])

    await Retention(database, lambda: 3 * DAY, lambda: None, clock, random.Random(1)).delete_old()

    assert [each["call_id"] for each in await store.labels(0, 10)] == ["b"]
    assert await store.decision("a") is None
    assert await store.decision("b") is not None
