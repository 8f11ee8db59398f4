"""What is learned from, in memory."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from proxy.learning.labels import SIGNAL
from proxy.learning.memory import LearningMemory
from tests.unit.learning.build import EASY, STRONG, WEAK, label


async def kept(most: int, keys: Sequence[str | None]) -> list[int]:
    """The times of the labels that are left of those with these keys."""
    memory = LearningMemory(most)
    labels = [label(number, WEAK, 1.0, EASY, key_id=key) for number, key in enumerate(keys)]
    await memory.add_labels([structs.asdict(each) for each in labels])
    return [each["time"] for each in await memory.labels(0, 100)]


async def test_one_key_displaces_its_own_labels() -> None:
    assert await kept(6, ["a", "b", "c", *["loud"] * 50]) == [0, 1, 2, 50, 51, 52]


async def test_without_such_a_key_the_oldest_labels_are_forgotten() -> None:
    assert await kept(4, ["a", "b", "c", "a", "b", "c"]) == [2, 3, 4, 5]
    assert await kept(2, [None, None, None, "a"]) == [2, 3]


async def test_an_answer_with_a_rating_and_feedback_is_counted_once() -> None:
    memory = LearningMemory()
    labels = [label(1, WEAK, 1.0, EASY, source=SIGNAL), label(1, WEAK, 0.0, EASY), label(1, STRONG, 1.0, EASY)]
    await memory.add_labels([structs.asdict(each) for each in labels])

    assert await memory.counts(0, 10) == {WEAK: 1, STRONG: 1}
