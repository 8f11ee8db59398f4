"""The sliding window: its grid, its corrections and its predictions, at moments chosen by hand."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from proxy.core.saved import MAX_AMOUNT, SavedWindow
from proxy.core.window import PARTS, Window

NAME = "upstream:acme/small:main:rpm"
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


def test_a_late_correction_only_adds_from_its_own_time() -> None:
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


# another process


def moved(window: Window, now: float, *, shift: float = 0.0, later: float = 0.0, started: float = 5.0) -> Window:
    """The window in a process whose clock began anew, so much later."""
    saved = msgspec.json.decode(msgspec.json.encode(window.export(NAME, shift, now)), type=SavedWindow)
    return Window.restored(saved, shift + now + later - started, started)


def test_a_restored_window_counts_on() -> None:
    window = Window(MINUTE, 3)
    window.take(1, 1000.0)
    window.take(2, 1030.0)

    again = moved(window, 1040.0, shift=1.8e9, later=10.0)

    assert again.limit == 3
    assert again.used(5.0) == 3
    assert math.isclose(again.when(1, 5.0), 10.0, abs_tol=PART)
    assert again.used(5.0 + 10.0 + PART) == 2
    assert again.used(5.0 + 40.0 + PART) == 0


def test_many_restarts_keep_nothing_for_longer_than_one_does() -> None:
    window = Window(86_400.0, 1)
    window.take(1, 5.0)

    for _ in range(100):
        window = moved(window, 5.0, later=60.0)

    assert window.used(5.0) == 1
    assert not window.used(5.0 + 86_400.0 - 100 * 60.0 + 86_400.0 / PARTS)


def test_a_prediction_is_exact_far_from_the_origin() -> None:
    window = Window(MINUTE, 1, origin=-1e7 / 3)
    window.take(1, 5.1)

    seconds = window.when(1, 5.2)

    assert not window.fits(1, 5.2 + seconds - 1e-6)
    assert window.fits(1, 5.2 + seconds)


def test_the_export_is_constant_until_the_window_is_empty() -> None:
    window = Window(MINUTE, 9)
    window.take(1, 0.0)
    window.take(1, 30.0)

    assert window.export(NAME, 0.0, 30.0) == window.export(NAME, 0.0, 30.0 + MINUTE)
    assert window.export(NAME, 0.0, 30.0 + MINUTE + PART) is None


def test_a_window_in_which_nothing_is_left_is_not_saved() -> None:
    window = Window(MINUTE, 9)
    window.correct(window.take(4, 0.0), -4, 1.0)

    assert Window(MINUTE, 9).export(NAME, 0.0, 0.0) is None
    assert window.export(NAME, 0.0, 1.0) is None


def test_an_amount_without_end_is_saved_as_the_largest_there_is() -> None:
    window = Window(MINUTE, 10**4299)
    window.take(10**4299, 0.0)

    again = moved(window, 0.0)

    assert (again.limit, again.used(5.0)) == (MAX_AMOUNT, MAX_AMOUNT)


SAVED = SavedWindow(name=NAME, seconds=MINUTE, limit=9, origin=100.0, parts=[0, 1], amounts=[2, 3])


@pytest.mark.parametrize("changed", [{"origin": 9e10}, {"parts": [10**15 - 1, 10**14]}])
def test_what_lies_in_the_future_is_taken_now(changed: dict[str, Any]) -> None:
    window = Window.restored(msgspec.structs.replace(SAVED, **changed), 0.0, 150.0)

    assert window.used(150.0 + MINUTE) == 5
    assert window.used(150.0 + MINUTE + PART) == 0


def test_parts_in_any_order_are_gone_in_order() -> None:
    window = Window.restored(msgspec.structs.replace(SAVED, parts=[60, 0]), 0.0, 150.0)

    assert window.used(100.0 + MINUTE + PART) == 2


@pytest.mark.parametrize("changed", [{"parts": [0]}, {"amounts": [1, 2, 3]}])
def test_parts_without_amounts_are_rejected(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="zip"):
        Window.restored(msgspec.structs.replace(SAVED, **changed), 0.0, 150.0)
