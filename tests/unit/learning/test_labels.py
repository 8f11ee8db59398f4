"""How much labels count."""

from __future__ import annotations

from proxy.learning.labels import FLOOR, SIGNAL, strongest, weights
from tests.unit.learning.build import EASY, STRONG, WEAK, label


def test_feedback_takes_the_place_of_a_signal() -> None:
    signal = label(1, WEAK, 1.0, EASY, source=SIGNAL, weight=0.1)
    feedback = label(1, WEAK, 0.0, EASY)

    assert strongest([feedback, signal]) == strongest([signal, feedback]) == {("req_1", WEAK): feedback}


def test_answers_of_two_models_have_two_labels() -> None:
    assert len(strongest([label(1, WEAK, 1.0, EASY), label(1, STRONG, 1.0, EASY)])) == 2


def test_one_key_has_at_most_its_share() -> None:
    labels = [label(number, WEAK, 1.0, EASY, key_id="loud") for number in range(900)]
    labels += [label(1_000 + number, WEAK, 1.0, EASY, key_id=f"key{number}") for number in range(100)]

    found = weights(labels, 0.2)

    assert round(sum(found[:900]), 6) == 25.0  # a fifth of 125
    assert found[900:] == [1.0] * 100


def test_a_key_that_is_alone_counts_no_more_than_the_floor() -> None:
    labels = [label(number, WEAK, 1.0, EASY, key_id="only") for number in range(80)]

    assert round(sum(weights(labels, 0.2)), 6) == FLOOR


def test_trusted_labels_are_not_bounded() -> None:
    assert weights([label(number, WEAK, 1.0, EASY) for number in range(500)], 0.2) == [1.0] * 500


def test_a_share_of_all_bounds_no_key() -> None:
    labels = [label(number, WEAK, 1.0, EASY, key_id="only") for number in range(80)]

    assert weights(labels, 1.0) == [1.0] * 80
