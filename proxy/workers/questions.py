"""What a worker asks all others, and their answers, collected in the supervisor.

Metrics are kept: of a worker that does not answer in time the last ones known are used, and the counters of one that
has ended are added to all later sums. So no sum ever falls; what a killed worker counted after the last scrape is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from proxy.core.clock import Clock
from proxy.observe.exposition import METRICS, Family, exported, retired
from proxy.observe.process import process_families
from proxy.workers.messages import Message

PATIENCE = 1.0  # seconds for the answers


class Asked(Protocol):
    """The part of a worker that is needed here."""

    index: int
    ready: bool


W = TypeVar("W", bound=Asked)


@dataclass(slots=True)
class _Question(Generic[W]):
    asker: W
    number: int  # the asker's own
    topic: str
    waiting: set[int]  # indexes of the workers that have not answered
    deadline: float
    answers: list[str] = field(default_factory=list)


class Questions(Generic[W]):
    """The open questions; `send` sends a message to a worker."""

    def __init__(self, clock: Clock, send: Callable[[W, Message], None]) -> None:
        self._clock = clock
        self._send = send
        self._open: dict[int, _Question[W]] = {}
        self._last = 0
        self._metrics: dict[int, bytes] = {}  # the last known export of each worker
        self._retired: bytes | None = None  # the sum of those that have ended
        self._serving = 0
        self.restarts = 0

    def ask(self, asker: W, message: Message, workers: Collection[W]) -> None:
        """Pass the question of `asker` on to all other workers."""
        self._last += 1
        others = [worker for worker in workers if worker.ready and worker is not asker]
        self._serving = len(others) + 1
        deadline = self._clock.monotonic() + PATIENCE
        question = _Question(asker, message["id"], message["topic"], {each.index for each in others}, deadline)
        self._open[self._last] = question
        if question.topic == METRICS:
            self._metrics[asker.index] = message["body"].encode()
        for worker in others:
            body = "" if question.topic == METRICS else message["body"]
            self._send(worker, {"kind": "question", "id": self._last, "topic": question.topic, "body": body})
        self._settle(self._last)

    def answer(self, worker: W, message: Message) -> None:
        """Take an answer; one that comes too late is ignored."""
        question = self._open.get(message["id"])
        if question is None:
            return
        question.waiting.discard(worker.index)
        if question.topic == METRICS:
            self._metrics[worker.index] = message["body"].encode()
        else:
            question.answers.append(message["body"])
        self._settle(message["id"])

    def forget(self, index: int) -> None:
        """A worker has ended: nothing waits for it, and its counters stay."""
        left = self._metrics.pop(index, None)
        if left is not None:
            self._retired = retired([left] if self._retired is None else [self._retired, left])
        for number, question in list(self._open.items()):
            question.waiting.discard(index)
            if question.asker.index == index:
                del self._open[number]
            else:
                self._settle(number)

    def deadlines(self) -> Iterator[float]:
        """Yield the moments at which questions end."""
        return (question.deadline for question in self._open.values())

    def expire(self) -> None:
        """End the questions whose time is over, with the answers there are."""
        now = self._clock.monotonic()
        for number, question in list(self._open.items()):
            if question.deadline <= now:
                question.waiting.clear()
                self._settle(number)

    def _settle(self, number: int) -> None:
        """Reply if all have answered."""
        question = self._open[number]
        if question.waiting:
            return
        del self._open[number]
        answers = self._scrape(question.asker) if question.topic == METRICS else question.answers
        self._send(question.asker, {"kind": "reply", "id": question.number, "answers": answers})

    def _scrape(self, asker: W) -> list[str]:
        """Return the exports of the other workers, of those that have ended, and of the supervisor."""
        exports = [export for index, export in self._metrics.items() if index != asker.index]
        if self._retired is not None:
            exports.append(self._retired)
        own = [*process_families(), *worker_families(self._serving, self.restarts)]
        exports.append(exported(own, zeros=True))
        return [export.decode() for export in exports]


def worker_families(serving: int, restarts: int) -> Iterator[Family]:
    """Yield the number of workers and how often one was replaced."""
    name = "signalbox_workers"
    yield Family(name, "gauge", "Worker processes that serve.", {name: serving})
    name = "signalbox_worker_restarts_total"
    yield Family(name, "counter", "Workers that were replaced because they ended.", {name: restarts})
