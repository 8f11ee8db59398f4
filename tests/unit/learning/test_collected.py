"""What is kept of an answer."""

from __future__ import annotations

from proxy.learning.collected import MOST
from proxy.learning.rating import Answer, ToolCall
from proxy.learning.reading import Chat


def test_pieces_are_joined() -> None:
    collected = Chat()
    for text in ("Pa", "ris"):
        collected.add_text(text)
    collected.add_call(1, "add", "")
    collected.add_call(1, "", "{}")
    collected.add_call(0, "run", "x", custom=True)

    calls = (ToolCall("run", "x", is_function=False), ToolCall("add", "{}"))
    assert collected.answer() == Answer("Paris", calls)


def test_a_long_answer_is_cut() -> None:
    collected = Chat()
    collected.add_text("x" * (MOST - 1))
    collected.add_call(0, "name", "arguments")

    answer = collected.answer()

    assert answer is not None
    assert (len(answer.text), answer.calls, answer.whole) == (MOST - 1, (ToolCall("n", ""),), False)


def test_what_cannot_be_read_is_no_answer() -> None:
    collected = Chat()
    collected.readable = False

    assert collected.answer() is None
