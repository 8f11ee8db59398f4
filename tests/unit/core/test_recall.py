"""The memory of answers: found only by owner, name and proof, and bounded."""

from __future__ import annotations

import pytest

from proxy.core import recall as module
from proxy.core.recall import MAX_AGE, Recall
from tests.support.fakes import FakeClock


def test_a_value_is_found_by_owner_name_and_proof() -> None:
    recall = Recall(FakeClock())

    recall.keep("ann", "call_0", "p", [{"a": 1}])

    assert recall.find("ann", "call_0", lambda: "p") == [{"a": 1}]


@pytest.mark.parametrize(
    ("owner", "name", "proof"), [("bob", "call_0", "p"), ("ann", "x", "p"), ("ann", "call_0", "q")]
)
def test_nothing_is_found_unless_all_three_match(owner: str, name: str, proof: str) -> None:
    recall = Recall(FakeClock())

    recall.keep("ann", "call_0", "p", 1)

    assert recall.find(owner, name, lambda: proof) is None


def test_equal_names_of_two_conversations_stay_apart() -> None:
    recall = Recall(FakeClock())

    recall.keep("ann", "call_0", "p", 1)
    recall.keep("ann", "call_0", "q", 2)

    assert [recall.find("ann", "call_0", lambda proof=proof: proof) for proof in "pq"] == [1, 2]  # type: ignore[misc]


def test_no_proof_is_made_for_a_name_that_is_unknown() -> None:
    recall = Recall(FakeClock())

    def proof() -> str:
        raise AssertionError("made")

    assert recall.find("ann", "call_0", proof) is None


def test_entries_end_after_their_time() -> None:
    clock = FakeClock()
    recall = Recall(clock)
    recall.keep("ann", "call_0", "p", 1)

    clock.pass_(MAX_AGE + 1)

    assert recall.find("ann", "call_0", lambda: "p") is None


@pytest.mark.parametrize(("entries", "size"), [(module.MAX_ENTRIES + 1, 1), (65, 1024 * 1024)])
def test_the_oldest_entries_are_forgotten_first(entries: int, size: int) -> None:
    recall = Recall(FakeClock())

    for number in range(entries):
        recall.keep("ann", str(number), "p", "x" * size)

    assert recall.find("ann", "0", lambda: "p") is None
    assert recall.find("ann", str(entries - 1), lambda: "p") == "x" * size


def test_a_name_is_issued_while_an_entry_has_it() -> None:
    clock = FakeClock()
    recall = Recall(clock)
    assert not recall.issued("call_0")

    recall.keep("ann", "call_0", "p", 1)
    recall.keep("bob", "call_0", "p", 1)
    assert recall.issued("call_0")

    clock.pass_(MAX_AGE + 1)
    recall.find("ann", "call_0", lambda: "p")
    assert recall.issued("call_0")
    recall.find("bob", "call_0", lambda: "p")
    assert not recall.issued("call_0")
