"""What one worker asks the others: the answers, the sums that never fall, and what ends a question."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from proxy.observe.exposition import METRICS, Family, exported, merged
from proxy.workers.messages import Message
from proxy.workers.questions import PATIENCE, Questions
from tests.support.fakes import FakeClock


@dataclass(eq=False)
class Worker:
    index: int
    ready: bool = True
    inbox: list[Message] = field(default_factory=list)


class Group:
    """Three workers and the questions between them."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.workers = [Worker(index) for index in range(3)]
        self.questions = Questions[Worker](self.clock, lambda worker, message: worker.inbox.append(message))

    def ask(self, index: int, topic: str = "reset", body: str = "x") -> None:
        message = {"kind": "ask", "id": 9, "topic": topic, "body": body}
        self.questions.ask(self.workers[index], message, self.workers)

    def answer(self, index: int, body: str) -> None:
        number = self.workers[index].inbox[-1]["id"]
        self.questions.answer(self.workers[index], {"kind": "answer", "id": number, "body": body})

    def reply(self, index: int) -> list[str] | None:
        replies = [message for message in self.workers[index].inbox if message["kind"] == "reply"]
        return replies[-1]["answers"] if replies else None

    def total(self, index: int) -> float:
        """The counter as the scraped worker shows it."""
        families = merged([], [answer.encode() for answer in self.reply(index) or []])
        return sum(value for family in families for name, value in family.values.items() if name == "c_total")


def counted(value: float, gauge: float = 0.0) -> str:
    counter = Family("c_total", "counter", "", {"c_total": value})
    return exported([counter, Family("c", "gauge", "", {"c": gauge})]).decode()


def test_all_others_are_asked_and_their_answers_returned() -> None:
    group = Group()

    group.ask(0)
    group.answer(1, "one")
    before = group.reply(0)
    group.answer(2, "two")

    question: dict[str, Any] = {"kind": "question", "id": 1, "topic": "reset", "body": "x"}
    assert group.workers[1].inbox == group.workers[2].inbox == [question]
    assert (before, group.reply(0)) == (None, ["one", "two"])


def test_workers_that_are_not_ready_are_not_asked() -> None:
    group = Group()
    group.workers[1].ready = group.workers[2].ready = False

    group.ask(0)

    assert group.reply(0) == []


def test_a_worker_that_does_not_answer_in_time_is_left_out() -> None:
    group = Group()
    group.ask(0)
    group.answer(1, "one")

    assert list(group.questions.deadlines()) == [group.clock.now + PATIENCE]
    group.clock.pass_(PATIENCE)
    group.questions.expire()

    assert group.reply(0) == ["one"]
    assert list(group.questions.deadlines()) == []


def test_a_worker_that_ends_is_not_waited_for() -> None:
    group = Group()
    group.ask(0)
    group.answer(1, "one")

    group.questions.forget(2)

    assert group.reply(0) == ["one"]


def test_a_question_ends_with_its_worker() -> None:
    group = Group()
    group.ask(0)

    group.questions.forget(0)
    group.answer(1, "late")

    assert group.reply(0) is None


def test_metrics_of_a_silent_worker_are_the_last_known() -> None:
    group = Group()
    group.ask(0, METRICS, counted(1))
    group.answer(1, counted(2))
    group.answer(2, counted(4))
    first = group.total(0)
    group.ask(0, METRICS, counted(1))
    group.answer(1, counted(3))
    group.clock.pass_(PATIENCE)
    group.questions.expire()

    assert (first, group.total(0)) == (6, 7)


def test_counters_of_an_ended_worker_stay_and_its_gauges_go() -> None:
    group = Group()
    group.ask(0, METRICS, counted(1))
    group.answer(1, counted(2, gauge=5))
    group.answer(2, counted(4, gauge=5))
    for index in (1, 2):
        group.questions.forget(index)
        group.workers[index].ready = False
    group.ask(0, METRICS, counted(1))

    assert group.total(0) == 6
    assert not any('"c":5' in answer for answer in group.reply(0) or [])


def test_counters_of_the_worker_that_asked_stay_too() -> None:
    group = Group()
    group.ask(0, METRICS, counted(8))
    group.questions.forget(0)
    group.workers[0].ready = False

    group.ask(1, METRICS, counted(1))
    group.answer(2, counted(2))

    assert group.total(1) == 10


def test_the_number_of_workers_and_restarts_is_measured() -> None:
    group = Group()
    group.questions.restarts = 2
    group.ask(0, METRICS, counted(1))
    group.answer(1, counted(1))
    group.answer(2, counted(1))

    families = {family.name: family.values for family in merged([], [each.encode() for each in group.reply(0) or []])}

    assert families["signalbox_workers"] == {"signalbox_workers": 3}
    assert families["signalbox_worker_restarts_total"] == {"signalbox_worker_restarts_total": 2}
