"""Budgets: the rules that limit spending, and the windows of time in which they count.

A window is identified by its start. A clock that returns to an earlier time returns to the same window, and so to the
same count; daylight saving time makes a window shorter or longer, but neither skips nor repeats one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import NamedTuple

from proxy.core.accounts import Budget, BudgetScope, Period


class Window(NamedTuple):
    """One period of a budget, in seconds since 1970; `end` is `None` for `total`, which never ends."""

    start: int
    end: int | None


FOREVER = Window(0, None)


class BudgetRule(NamedTuple):
    """One budget: what it covers, and its amount in nano-dollars. `id` is empty for the scope `total`."""

    scope: BudgetScope
    id: str
    nusd: int
    period: Period = "month"
    hard: bool = True
    timezone: str = "UTC"

    @property
    def name(self) -> str:
        """The budget in messages: `user/alice`, `total`."""
        return f"{self.scope}/{self.id}" if self.id else self.scope


@dataclass(frozen=True, slots=True)
class BudgetPolicy:
    """The budgets of a configuration: by scope and id, and the one of each user without a budget."""

    rules: Mapping[tuple[BudgetScope, str], tuple[BudgetRule, ...]] = field(default_factory=dict)
    user: Budget | None = None


def rule_of(scope: BudgetScope, id: str, budget: Budget) -> BudgetRule:
    """Return the rule of a stored budget."""
    return BudgetRule(scope, id, budget.nusd, budget.period, budget.hard, budget.timezone)


def window_at(period: Period, timezone: str, now: float) -> Window:
    """Return the window that contains `now`. Days begin at midnight, weeks on Monday, months on the first."""
    if period == "total":
        return FOREVER
    zone = _zone(timezone)
    first = _first_day(period, datetime.fromtimestamp(now, zone).date())
    while True:
        following = _next(period, first)
        start, end = _midnight(first, zone), _midnight(following, zone)
        if now < end:
            return Window(start, end)
        first = following  # the clock was set back across midnight: the later window has begun already


class Windows:
    """The current window of each period and time zone, computed again when it has ended."""

    def __init__(self) -> None:
        self._current: dict[tuple[Period, str], Window] = {}

    def at(self, period: Period, timezone: str, now: float) -> Window:
        """Return the window that contains `now`."""
        window = self._current.get((period, timezone))
        if window is None or now < window.start or (window.end is not None and now >= window.end):
            window = self._current[period, timezone] = window_at(period, timezone, now)
        return window


def reset_text(window: Window) -> str | None:
    """Return the end of a window as ISO 8601 in UTC; `None` if it never ends."""
    if window.end is None:
        return None
    return datetime.fromtimestamp(window.end, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo  # only here: most budgets are in UTC

    return ZoneInfo(name)


def _first_day(period: Period, day: date) -> date:
    if period == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if period == "month" else day


def _next(period: Period, first: date) -> date:
    if period == "month":
        return (first.replace(day=28) + timedelta(days=4)).replace(day=1)
    return first + timedelta(days=7 if period == "week" else 1)


def _midnight(day: date, zone: tzinfo) -> int:
    """Return the beginning of a day; the first midnight where clocks are set back, the jump where they skip it."""
    return int(datetime.combine(day, time(), zone).timestamp())
