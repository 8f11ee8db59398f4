"""Tests of proxy/upstream/warm.py."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.plan import Warm
from proxy.core.record import AttemptOutcome, Outcome, Record
from proxy.core.usage import Usage
from proxy.upstream.warm import KEPT_SECONDS, MOST, WarmPrompts
from tests.support import calls
from tests.support.fakes import FakeClock

OPENAI, ANTHROPIC = calls.deployment(), calls.deployment(of=calls.provider(dialect="anthropic"))


def answered(
    conversation: bytes = b"c", outcome: Outcome = Outcome.OK, deployment: Any = OPENAI, **usage: int
) -> Record:
    record = calls.record(plan=calls.plan(deployment), outcome=outcome)
    assert record.plan is not None
    record.plan.conversation = conversation
    attempt = record.attempt(deployment, "main", 1001.0)
    attempt.usage, attempt.outcome = Usage(**usage), AttemptOutcome.OK
    return record


@pytest.mark.parametrize(
    ("deployment", "usage", "tokens"),
    [
        (OPENAI, {"input": 2000, "output": 10}, 2010),
        (OPENAI, {"input": 100, "output": 10}, 0),
        (ANTHROPIC, {"input": 2000, "output": 10}, 0),
        (ANTHROPIC, {"input": 2000, "output": 10, "cache_write": 1900}, 2010),
    ],
)
def test_an_answer_makes_its_model_warm(deployment: Any, usage: dict[str, int], tokens: int) -> None:
    warm = WarmPrompts(FakeClock())
    warm.note(answered(deployment=deployment, **usage))

    assert warm.find(b"c") == Warm(deployment.name, tokens)
    assert warm.find(b"other") is None


def test_an_attempt_that_lost_a_hedge_has_cached_nothing() -> None:
    warm = WarmPrompts(FakeClock())
    record = answered(input=2000, output=10)
    record.attempt(ANTHROPIC, "main", 1002.0).outcome = AttemptOutcome.HEDGE_LOST
    warm.note(record)

    assert warm.find(b"c") == Warm(OPENAI.name, 2010)


def test_a_prompt_gets_cold() -> None:
    clock = FakeClock()
    warm = WarmPrompts(clock)
    warm.note(answered())
    clock.pass_(KEPT_SECONDS + 1)

    assert warm.find(b"c") is None


def test_failed_calls_and_other_routes_change_nothing() -> None:
    warm = WarmPrompts(FakeClock())
    other = answered()
    assert other.plan is not None
    other.plan.conversation = None
    warm.note(answered(outcome=Outcome.ERROR))
    warm.note(other)

    assert warm.find(b"c") is None


def test_the_oldest_conversations_are_forgotten() -> None:
    warm = WarmPrompts(FakeClock())
    for number in range(MOST + 1):
        warm.note(answered(b"%d" % number))

    assert warm.find(b"0") is None
    assert warm.find(b"1") is not None


@pytest.mark.parametrize(("seconds", "expected"), [(KEPT_SECONDS - 20, "a/m"), (KEPT_SECONDS - 5, "b/n")])
def test_of_two_answers_of_replicas_the_newer_one_counts(seconds: float, expected: str) -> None:
    clock = FakeClock()
    warm = WarmPrompts(clock)
    warm.follow(b"c", Warm("a/m", 0), KEPT_SECONDS - 10)
    warm.follow(b"c", Warm("b/n", 0), seconds)

    found = warm.find(b"c")

    assert found is not None
    assert found.model == expected


def test_an_answer_of_a_replica_that_is_too_old_is_not_kept() -> None:
    warm = WarmPrompts(FakeClock())
    warm.follow(b"c", Warm("a/m", 0), -1.0)

    assert warm.find(b"c") is None
