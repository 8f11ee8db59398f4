"""Connections are given in turn, and to workers that have had fewer for a while."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from proxy.workers.acceptor import COUNT_EVERY, RETRY, Acceptor
from proxy.workers.board import OPEN, RECEIVED, Board
from proxy.workers.process import Worker
from tests.support.fakes import FakeClock


class Box:
    """An acceptor on a free port, and workers that receive as soon as they are given something."""

    def __init__(self, stack: ExitStack, workers: int) -> None:
        self.stack = stack
        self.clock = FakeClock()
        self.board = Board(workers)
        self.selector = selectors.DefaultSelector()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.theirs: list[socket.socket] = []
        self.workers = [self._worker(index) for index in range(workers)]
        self.serving = list(self.workers)
        self.acceptor = Acceptor(self.listener, self.selector, self.clock, lambda: self.serving)
        self.acceptor.listen()
        self.update()

    def _worker(self, index: int) -> Worker:
        ours, theirs = socket.socketpair()
        control, their_control = socket.socketpair()
        theirs.setblocking(False)
        self.theirs.append(theirs)
        for each in (ours, theirs, control, their_control):
            self.stack.callback(each.close)
        return Worker(
            index,
            1,
            self.board.row(index),
            connections=ours,
            control=control,
            selector=self.selector,
            started=0.0,
            on_message=lambda worker, message: None,
        )

    def update(self, seconds: float = 0.0) -> None:
        self.clock.pass_(seconds)
        self.acceptor.update()

    def connect(self, count: int = 1) -> list[int]:
        """Make connections, and return the workers that they went to."""
        return [self._connect() for _ in range(count)]

    def _connect(self) -> int:
        self.stack.callback(socket.create_connection(self.listener.getsockname()).close)
        for key, events in self.selector.select(60):
            key.data(events)
        return next(iter(self.received()), -1)

    def received(self) -> Iterator[int]:
        for index, theirs in enumerate(self.theirs):
            try:
                _, descriptors, _, _ = socket.recv_fds(theirs, 1, 1)
            except BlockingIOError:
                continue
            for descriptor in descriptors:
                socket.close(descriptor)
            row = self.board.row(index)
            row[OPEN] += 1
            row[RECEIVED] += 1
            yield index

    def leave(self, index: int, count: int) -> None:
        """Let clients of a worker close their connections."""
        self.board.row(index)[OPEN] -= count


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def box(stack: ExitStack, workers: int = 2) -> Box:
    made = Box(stack, workers)
    stack.callback(made.selector.close)
    stack.callback(made.acceptor.close)
    return made


def test_connections_are_given_in_turn(stack: ExitStack) -> None:
    served = box(stack, 3).connect(9)

    assert [served.count(index) for index in range(3)] == [3, 3, 3]


def test_a_worker_with_fewer_at_two_counts_is_filled_up(stack: ExitStack) -> None:
    made = box(stack)
    made.connect(8)
    made.leave(0, 3)
    for _ in range(2):
        made.update(COUNT_EVERY)

    assert made.connect(3) == [0, 0, 0]
    assert sorted(made.connect(2)) == [0, 1]


def test_a_difference_that_only_one_count_shows_does_not_matter(stack: ExitStack) -> None:
    made = box(stack)
    made.connect(8)
    for _ in range(2):
        made.update(COUNT_EVERY)
    made.leave(0, 4)  # the other worker is about to notice the same
    made.update(COUNT_EVERY)
    served = made.connect(4)
    made.leave(1, 4)
    for _ in range(2):
        made.update(COUNT_EVERY)

    assert [served.count(index) for index in range(2)] == [2, 2]
    assert sorted(made.connect(2)) == [0, 1]


def test_nothing_is_accepted_without_a_worker(stack: ExitStack) -> None:
    made = box(stack)
    made.serving.clear()
    made.update()
    stack.callback(socket.create_connection(made.listener.getsockname()).close)
    before = made.selector.select(0)
    made.serving.append(made.workers[1])
    made.update()
    for key, events in made.selector.select(60):
        key.data(events)

    assert before == []
    assert list(made.received()) == [1]


def test_a_connection_that_no_worker_can_take_is_offered_again(stack: ExitStack) -> None:
    made = box(stack)
    for worker in made.workers:
        worker.give = lambda _: False  # type: ignore[method-assign]
    before = made.connect()
    for worker in made.workers:
        del worker.give  # type: ignore[method-assign]
    paused = made.acceptor.due() - made.clock.now
    made.update(RETRY)

    assert before == [-1]
    assert paused <= RETRY
    assert len(list(made.received())) == 1
