"""The sliding window under any traffic, against every moment written down."""

from __future__ import annotations

import math
from itertools import pairwise

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.saved import SavedWindow
from proxy.core.window import PARTS, Window
from proxy.upstream.persist import DRIFT

LENGTHS = st.sampled_from([1.0, 60.0, 3600.0, 86_400.0, 0.1, 7.3])
LIMITS = st.integers(1, 50)
STEPS = st.lists(st.tuples(st.floats(0.0, 0.7, exclude_max=True), st.integers(1, 20)), max_size=120)


@given(LENGTHS, LIMITS, STEPS)
def test_no_interval_exceeds_the_limit(seconds: float, limit: int, steps: list[tuple[float, int]]) -> None:
    window, now = Window(seconds, limit), 1000.0
    taken: list[tuple[float, int]] = []

    for step, amount in steps:
        now += step * seconds
        if window.fits(amount, now):
            window.take(amount, now)
            taken.append((now, amount))

    for end, _ in taken:
        assert sum(amount for at, amount in taken if end - seconds <= at <= end) <= limit


@given(LENGTHS, LIMITS, STEPS)
def test_what_fits_a_window_one_part_longer_is_never_refused(
    seconds: float, limit: int, steps: list[tuple[float, int]]
) -> None:
    window, now = Window(seconds, limit), 1000.0
    taken: list[tuple[float, int]] = []
    longer = seconds * (1 + 1 / PARTS) * (1 + 1e-9)

    for step, amount in steps:
        now += step * seconds
        exact = sum(amount for at, amount in taken if at >= now - longer)
        if window.fits(amount, now):
            window.take(amount, now)
            taken.append((now, amount))
        else:
            assert exact + amount > limit


@settings(max_examples=30)
@given(st.integers(1, 20), st.integers(1, 100), st.floats(0.0, 1e6))
def test_under_constant_demand_at_most_one_percent_is_lost(limit: int, every: int, start: float) -> None:
    seconds, windows = 60.0, 10
    window, admitted, now = Window(seconds, limit), 0, start
    exact: list[float] = []

    while now < start + windows * seconds:
        for _ in range(limit):
            if window.fits(1, now):
                window.take(1, now)
                admitted += 1
            if sum(at > now - seconds for at in exact[-limit:]) < limit:
                exact.append(now)
        now += min(window.when(1, now) or seconds / every, _until_free(exact, limit, seconds, now))

    assert admitted >= 0.99 * len(exact) - limit  # less one window's worth at the end


def _until_free(exact: list[float], limit: int, seconds: float, now: float) -> float:
    if len(exact) < limit or exact[-limit] + seconds <= now:
        return seconds
    return math.nextafter(exact[-limit] + seconds, math.inf) - now


@given(LENGTHS, LIMITS, STEPS, st.integers(1, 60))
def test_the_prediction_fits_and_nothing_before_it_does(
    seconds: float, limit: int, steps: list[tuple[float, int]], wanted: int
) -> None:
    window, now = Window(seconds, limit), 1000.0
    for step, amount in steps:
        now += step * seconds
        if window.fits(amount, now):
            window.take(amount, now)

    wait = window.when(wanted, now)

    if wanted > limit:
        assert wait == math.inf
    elif wait == 0.0:
        assert window.fits(wanted, now)
    else:
        assert not window.fits(wanted, now)
        before = math.nextafter(now + wait, 0.0)
        assert before <= now or not window.fits(wanted, before)
        assert window.fits(wanted, now + wait)


CORRECTIONS = st.lists(st.tuples(st.floats(0.0, 0.5), st.integers(1, 20), st.integers(0, 40)), max_size=80)


@given(LIMITS, CORRECTIONS)
def test_what_was_really_used_is_never_forgotten_too_early(limit: int, steps: list[tuple[float, int, int]]) -> None:
    window, now, seconds = Window(60.0, limit), 0.0, 60.0
    real: list[tuple[float, int]] = []

    for step, reserved, used in steps:
        now += step * seconds
        if window.fits(reserved, now):
            stamp = window.take(reserved, now)
            real.append((now, used))
            now += 1.0
            window.correct(stamp, used - reserved, now)
        truth = sum(amount for at, amount in real if at >= now - seconds)
        assert window.used(now) >= truth


@settings(max_examples=20)
@given(st.lists(st.floats(0.0, 0.02), min_size=2, max_size=1000))
def test_memory_is_bounded_whatever_comes(steps: list[float]) -> None:
    window, now = Window(1.0, 10**9), 0.0
    parts: list[int] = []

    for step in steps:
        now += step
        window.take(1, now)
        parts.append(len(window._parts))  # noqa: SLF001

    assert max(parts) <= PARTS + 2
    assert all(after - before <= 1 for before, after in pairwise(parts))


FRACTIONS = st.integers(0, 1024)  # of the length, so that all times are exact
RESTARTS = st.none() | st.tuples(st.integers(0, 10**8), FRACTIONS, st.integers(-16, 16))
LIVES = st.lists(st.tuples(FRACTIONS | st.none(), st.integers(1, 20), RESTARTS), max_size=60)  # None: until it fits


@given(st.sampled_from([60.0, 3600.0, 86_400.0]), LIMITS, LIVES)
def test_a_limit_holds_over_restarts_and_is_hardly_stricter(
    seconds: float, limit: int, steps: list[tuple[int | None, int, tuple[int, int, int] | None]]
) -> None:
    window, wall, shift, restarts = Window(seconds, limit), 1.8e9, 1.8e9 - 1000.0, 0
    taken: list[tuple[float, int]] = []

    for step, amount, restart in steps:
        until_it_fits = window.when(min(amount, limit), wall - shift)
        wall += until_it_fits if step is None else step * seconds / 1024
        if window.fits(amount, wall - shift):
            window.take(amount, wall - shift)
            taken.append((wall, amount))
        else:
            longer = seconds + seconds / PARTS + restarts * 2 * DRIFT
            assert sum(amount for at, amount in taken if at >= wall - longer) + amount > limit
        if restart:
            started, down, drift = restart
            saved = window.export("upstream:acme/small:main:rpm", shift + drift * DRIFT / 16, wall - shift)
            wall += down * seconds / 1024
            shift, restarts = wall - started, restarts + 1
            window = Window(seconds, limit)
            if saved:
                window = Window.restored(
                    msgspec.json.decode(msgspec.json.encode(saved), type=SavedWindow), shift - DRIFT, wall - shift
                )

    for end, _ in taken:
        assert sum(amount for at, amount in taken if end - seconds <= at <= end) <= limit
