"""Which repeated failures are logged."""

from __future__ import annotations

from proxy.learning.failures import AGAIN, MOST, Failures
from tests.support.fakes import FakeClock


def test_the_same_failure_is_logged_once_an_hour() -> None:
    clock = FakeClock()
    failures = Failures(clock)

    first = [failures.is_new(ValueError(text)) for text in ("one", "two", "one", "two")]
    clock.pass_(AGAIN)

    assert first == [True, True, False, False]
    assert failures.is_new(ValueError("one"))


def test_failures_that_differ_are_bounded_as_well() -> None:
    failures = Failures(FakeClock())

    logged = [failures.is_new(ValueError(str(number))) for number in range(MOST + 5)]

    assert sum(logged) == MOST
