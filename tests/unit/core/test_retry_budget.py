"""The retry budget: what it allows, and what an outage makes of it."""

from __future__ import annotations

import pytest

from proxy.core.policies import RetryPolicy
from proxy.core.retry_budget import SECONDS, RetryBudget
from proxy.core.window import PARTS
from tests.support.calls import live, retry_budget, snapshot


def taken(budget: RetryBudget, now: float, wanted: int = 10_000) -> int:
    """How many further attempts are allowed at one moment."""
    return sum(1 for _ in range(wanted) if budget.take(now))


@pytest.mark.parametrize(
    ("share", "floor", "calls", "allowed"),
    [
        (0.2, 10.0, 0, 50),
        (0.2, 10.0, 100, 70),
        (0.2, 0.0, 100, 20),
        (0.2, 0.0, 4, 0),  # not even one: a part of a retry is none
        (0.2, 0.0, 5, 1),
        (0.0, 0.2, 1000, 1),
        (0.0, 0.0, 1000, 0),
        (1.0, 0.0, 7, 7),
    ],
)
def test_a_share_of_recent_calls_and_a_floor_are_allowed(share: float, floor: float, calls: int, allowed: int) -> None:
    budget = retry_budget(share, floor)
    for _ in range(calls):
        budget.called(1000.0)

    assert taken(budget, 1000.0) == allowed
    assert budget.used(1000.0) == allowed


def test_a_refusal_costs_nothing() -> None:
    budget = retry_budget(0.5, 0.0)
    budget.called(0.0)
    assert taken(budget, 0.0) == 0

    budget.called(0.0)

    assert taken(budget, 0.0) == 1


def test_what_is_spent_comes_back_when_its_time_is_over() -> None:
    budget = retry_budget(0.0, 2.0)
    assert taken(budget, 1000.0) == 10

    assert taken(budget, 1000.0 + SECONDS) == 0
    assert taken(budget, 1000.0 + SECONDS * (1 + 2 / PARTS)) == 10


def test_calls_that_are_long_past_allow_nothing() -> None:
    budget = retry_budget(0.5, 0.0)
    for _ in range(100):
        budget.called(1000.0)

    assert taken(budget, 1000.0 + SECONDS * (1 + 2 / PARTS)) == 0


def test_a_changed_configuration_holds_at_once() -> None:
    config = live(retry=RetryPolicy(share=0.0, floor=2.0))
    budget = RetryBudget(config)
    assert taken(budget, 0.0) == 10

    config.snapshot = snapshot(retry=RetryPolicy(share=0.0, floor=4.0))

    assert taken(budget, 0.0) == 10


def outage(rate: int, share: float, floor: float, *, seconds: int = 60, attempts: int = 4) -> float:
    """Upstream attempts for each call where every attempt fails and each call would use all that it has."""
    budget, made = retry_budget(share, floor), 0
    for number in range(rate * seconds):
        now = 1000.0 + number / rate
        budget.called(now)
        made += 1 + taken(budget, now, attempts - 1)
    return made / (rate * seconds)


@pytest.mark.parametrize(
    ("rate", "floor", "most"),
    [
        (100, 0.0, 1.2),
        (100, 4.0, 1.25),  # 0.2 + 4 / 100 = 0.24, and a sixtieth of the first window's burst
        (100, 10.0, 1.32),  # the default floor is a tenth of 100 calls a second: 0.2 + 0.1, and the first burst
        (300, 10.0, 1.25),  # 0.2 + 10 / 300 = 0.233, and the burst
        (1000, 10.0, 1.215),
    ],
)
def test_an_outage_is_never_multiplied(rate: int, floor: float, most: float) -> None:
    """A call's worth is 1 + share + floor / rate, plus at most one window of the floor for the whole outage."""
    measured = outage(rate, 0.2, floor)

    assert measured <= most
    assert measured <= 1 + 0.2 + floor / rate * (60 + SECONDS * 1.02) / 60


def test_without_a_budget_an_outage_quadruples_the_calls() -> None:
    assert outage(100, 1.0, 300.0) == 4.0


def test_what_was_not_sent_is_given_back() -> None:
    budget = retry_budget(0.0, 1.0)
    assert taken(budget, 1000.0) == 5

    budget.give_back(1000.5)

    assert budget.used(1000.5) == 4
    assert taken(budget, 1000.5) == 1
