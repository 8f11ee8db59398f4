"""Delays grow with failed starts, and end with a start that succeeds."""

from __future__ import annotations

from proxy.workers.restarts import DELAYS, GIVE_UP, SETTLED, Restarts


def fail(restarts: Restarts, index: int = 0) -> float:
    return restarts.ended(index, ready=False, leaving=False, lived=0.1)


def test_a_worker_that_has_served_for_a_while_is_replaced_at_once() -> None:
    restarts = Restarts(1)

    assert [restarts.ended(0, ready=True, leaving=False, lived=SETTLED) for _ in range(9)] == [0.0] * 9
    assert not restarts.gives_up(0)


def test_a_worker_that_was_asked_to_end_is_replaced_at_once() -> None:
    restarts = Restarts(1)

    assert [restarts.ended(0, ready=True, leaving=True, lived=0.1) for _ in range(9)] == [0.0] * 9


def test_delays_grow_with_failed_starts() -> None:
    restarts = Restarts(1)

    assert [fail(restarts) for _ in range(len(DELAYS) + 2)] == [*DELAYS, DELAYS[-1], DELAYS[-1]]


def test_a_start_that_succeeds_ends_the_row() -> None:
    restarts = Restarts(1)
    for _ in range(GIVE_UP):
        fail(restarts)
    before = restarts.gives_up(0)
    restarts.ended(0, ready=True, leaving=False, lived=SETTLED)

    assert (before, restarts.gives_up(0), fail(restarts)) == (True, False, 0.0)


def test_each_worker_has_its_own_row() -> None:
    restarts = Restarts(2)
    for _ in range(GIVE_UP):
        fail(restarts, 0)

    assert (restarts.gives_up(0), restarts.gives_up(1), fail(restarts, 1)) == (True, False, 0.0)
