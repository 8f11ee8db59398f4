"""The sliding window: its grid, its corrections and its predictions, at moments chosen by hand."""

from __future__ import annotations

import math

from proxy.core.window import PARTS, Window

MINUTE = 60.0
PART = MINUTE / PARTS


def test_it_admits_up_to_its_limit_and_no_more() -> None:
    window = Window(MINUTE, 3)

    for _ in range(3):
        assert window.fits(1, 0.0)
        window.take(1, 0.0)

    assert not window.fits(1, 0.0)
    assert not window.fits(1, MINUTE)  # both ends of an interval belong to it


def test_what_was_taken_counts_for_less_than_one_part_too_long() -> None:
    window = Window(MINUTE, 1)
    window.take(1, 0.0)

    assert window.used(MINUTE + PART * 0.99) == 1
    assert window.used(MINUTE + PART) == 0


def test_the_prediction_is_the_first_moment_that_fits() -> None:
    window = Window(MINUTE, 10)
    window.take(4, 100.0)
    window.take(6, 130.0)

    seconds = window.when(5, 131.0)

    assert math.isclose(131.0 + seconds, 190.0, abs_tol=PART)
    assert window.when(4, 131.0) < 30.0 < seconds
    assert window.fits(5, 131.0 + seconds)


def test_what_can_never_fit_is_infinitely_far() -> None:
    window = Window(MINUTE, 10)

    assert window.when(11, 0.0) == math.inf


def test_fewer_tokens_than_reserved_make_room_at_once() -> None:
    window = Window(MINUTE, 100)
    stamp = window.take(100, 0.0)

    window.correct(stamp, -70, 5.0)

    assert window.used(5.0) == 30
    assert window.fits(70, 5.0)


def test_more_tokens_than_reserved_are_counted_above_the_limit() -> None:
    window = Window(MINUTE, 100)
    stamp = window.take(90, 0.0)

    window.correct(stamp, 60, 5.0)

    assert window.used(5.0) == 150
    assert window.when(50, 5.0) > 0
    assert window.used(MINUTE + PART) == 0


def test_a_correction_that_comes_late_lowers_nothing_and_raises_from_then_on() -> None:
    window = Window(MINUTE, 100)
    stamp = window.take(50, 0.0)

    window.correct(stamp, -50, 200.0)
    assert window.used(200.0) == 0
    window.correct(stamp, 20, 200.0)

    assert window.used(259.0) == 20
    assert window.used(261.0) == 0


def test_a_correction_never_takes_what_others_have_taken() -> None:
    window = Window(MINUTE, 100)
    stamp = window.take(10, 0.0)

    window.correct(stamp, -30, 0.0)

    assert window.used(0.0) == 0


def test_a_limit_set_anew_counts_from_the_next_question_on() -> None:
    window = Window(MINUTE, 10)
    window.take(8, 0.0)

    window.limit = 5
    assert not window.fits(1, 1.0)
    window.limit = 20

    assert window.fits(12, 1.0)


def test_time_that_goes_back_is_time_that_stands_still() -> None:
    window = Window(MINUTE, 2)
    window.take(1, 100.0)

    window.take(1, 40.0)

    assert window.used(101.0) == 2
    assert not window.fits(1, 159.0)


def test_a_day_is_any_24_hours() -> None:
    window = Window(86_400.0, 1)
    noon = 12 * 3600.0
    window.take(1, noon)

    assert not window.fits(1, 24 * 3600.0 + 1)  # midnight means nothing
    assert window.fits(1, noon + 86_400.0 + 675.0)
