"""Windows of budgets: days, weeks and months of a time zone, over changes of clocks."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.accounts import Budget, Period
from proxy.core.budgets import FOREVER, BudgetRule, Window, Windows, reset_text, rule_of, window_at

ZONES = ("UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Beirut", "Pacific/Apia", "America/Havana", "Asia/Kolkata")
PERIODS: tuple[Period, ...] = ("day", "week", "month")


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [
        ("day", "2026-11-28", "2026-11-29"),
        ("week", "2026-11-23", "2026-11-30"),  # begins on Monday
        ("month", "2026-11-01", "2026-12-01"),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kolkata"])
def test_window_of_a_moment(period: Period, start: str, end: str, zone: str) -> None:
    window = window_at(period, zone, at("2026-11-28T23:30", zone))

    assert window == Window(int(at(start, zone)), int(at(end, zone)))


def test_total_is_one_window() -> None:
    assert window_at("total", "UTC", at("2026-11-28")) == FOREVER


def test_a_day_of_daylight_saving_is_one_window() -> None:
    spring, autumn = (
        window_at("day", "Europe/Berlin", at(day, "Europe/Berlin")) for day in ("2026-03-29", "2026-10-25")
    )

    assert spring.end is not None
    assert spring.end - spring.start == 23 * 3600
    assert autumn.end is not None
    assert autumn.end - autumn.start == 25 * 3600


def test_a_clock_set_back_across_midnight_opens_no_window_again() -> None:
    # at 00:01 of 2010-11-07 the clocks of Newfoundland were set back to 23:01 of the day before
    midnight = at("2010-11-07", "America/St_Johns")

    windows = [window_at("day", "America/St_Johns", midnight + minute * 60) for minute in range(-5, 70)]

    assert windows == sorted(windows)
    assert len(set(windows)) == 2


@given(st.sampled_from(ZONES), st.sampled_from(PERIODS), st.floats(0, 4e9), st.floats(0, 4e7))
def test_windows_follow_each_other(zone: str, period: Period, now: float, later: float) -> None:
    window, second = window_at(period, zone, now), window_at(period, zone, now + later)

    assert window.end is not None
    assert window.start <= now < window.end
    assert second == window or second.start >= window.end
    assert window_at(period, zone, window.end).start == window.end


def test_windows_are_kept_until_they_end() -> None:
    windows, noon = Windows(), at("2026-11-28T12:00")

    first, same, next_day = (windows.at("day", "UTC", noon + seconds) for seconds in (0, 60, 86_400))

    assert same is first
    assert next_day.start == first.end


def test_a_clock_set_back_returns_to_the_earlier_window() -> None:
    windows, noon = Windows(), at("2026-11-28T12:00")
    first = windows.at("day", "UTC", noon)
    windows.at("day", "UTC", noon + 86_400)

    assert windows.at("day", "UTC", noon) == first


def test_reset_is_the_end_in_utc() -> None:
    window = window_at("day", "Europe/Berlin", datetime(2026, 11, 28, 12, tzinfo=UTC).timestamp())

    assert reset_text(window) == "2026-11-28T23:00:00Z"
    assert reset_text(FOREVER) is None


def test_names_of_rules() -> None:
    assert rule_of("user", "alice", Budget(5)).name == "user/alice"
    assert BudgetRule("total", "", 5).name == "total"
