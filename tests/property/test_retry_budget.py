"""The retry budget under any traffic, against every moment written down."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.retry_budget import SECONDS, RetryBudget
from proxy.core.window import PARTS
from tests.support.calls import retry_budget

LONGEST = SECONDS * (1 + 2 / PARTS)  # what a window counts, at most
STEPS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.01, 0.3, 2.0, 9.9, 10.1, 30.0]), st.integers(0, 12), st.integers(0, 40)),
    max_size=60,
)


def play(budget: RetryBudget, steps: list[tuple[float, int, int]]) -> tuple[list[float], list[float]]:
    """The moments of calls and of further attempts."""
    now, calls, retries = 1000.0, [], []
    for pause, called, wanted in steps:
        now += pause
        for _ in range(called):
            budget.called(now)
            calls.append(now)
        retries += [now for _ in range(wanted) if budget.take(now)]
    return calls, retries


@given(st.sampled_from([0.0, 0.2, 1.0]), st.sampled_from([0.0, 0.3, 2.0]), STEPS)
@settings(deadline=None)
def test_retries_in_any_window_stay_within_the_budget(
    share: float, floor: float, steps: list[tuple[float, int, int]]
) -> None:
    calls, retries = play(retry_budget(share, floor), steps)

    for end in retries:
        counted = sum(end - SECONDS < at <= end for at in retries)
        backed = sum(end - LONGEST <= at <= end for at in calls)
        assert counted <= share * backed + floor * SECONDS + 1e-9


@given(STEPS)
@settings(deadline=None)
def test_attempts_are_at_most_1_2_times_the_calls_and_the_floor(
    steps: list[tuple[float, int, int]],
) -> None:
    floor = 1.0
    calls, retries = play(retry_budget(0.2, floor), steps)

    for start in calls[:1] + retries[::5]:
        for end in retries:
            if end < start:
                continue
            made = sum(start <= at <= end for at in retries)
            backed = sum(start - LONGEST <= at <= end for at in calls)
            assert made <= 0.2 * backed + floor * (end - start + SECONDS) + 1e-9


@given(STEPS)
@settings(deadline=None)
def test_what_the_budget_has_room_for_is_never_refused(steps: list[tuple[float, int, int]]) -> None:
    budget, now = retry_budget(0.2, 1.0), 1000.0
    calls: list[float] = []
    retries: list[float] = []

    for pause, called, wanted in steps:
        now += pause
        for _ in range(called):
            budget.called(now)
            calls.append(now)
        for _ in range(wanted):
            counted = sum(now - LONGEST <= at for at in retries)
            backed = sum(now - SECONDS <= at for at in calls)
            if budget.take(now):
                retries.append(now)
            else:
                assert counted + 1 > 0.2 * backed + SECONDS
