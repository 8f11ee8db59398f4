"""Histories as legal turns, by a small target of its own."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.dialects.turns import PLACEHOLDER, History, TurnRules

RULES = TurnRules(
    text=lambda text: {"text": text},
    no_result=lambda use: {"result": use.id, "of": None},
    is_blank=lambda block: block == {"text": " "},
)
FILLED = {"text": PLACEHOLDER}


def turns(*messages: tuple[str, Any]) -> list[tuple[str, list[Any]]]:
    """`u` a user's texts, `a` an assistant's texts and ids of calls (`#id`), `t` a result by id, `n` one by name."""
    history = History()
    for kind, said in messages:
        if kind == "u":
            history.user([{"text": said}] if said else [])
        elif kind == "a":
            words = said.split()
            uses = [
                history.tool_use(word[1:] or None, word[1:], word[1:] or "call") for word in words if word[0] == "#"
            ]
            texts = [{"text": word} for word in words if word[0] != "#"]
            history.assistant([*texts, *({"call": use.id} for use in uses)], uses)
        else:
            message = {"tool_call_id": said} if kind == "t" else {"name": said}
            use = history.answered(message)
            if use is None:
                history.user([{"text": f"of {said}"}])
            else:
                use.result = {"result": use.id, "of": said}
                use.beside = [{"beside": said}] if said == "b" else []
    return [(turn.role[0], turn.blocks) for turn in history.legal_turns(RULES)]


def text(*texts: str) -> list[Any]:
    return [{"text": each} for each in texts]


def result(id: str, of: str | None = "") -> Any:
    return {"result": id, "of": id if of == "" else of}


CASES: dict[str, tuple[list[tuple[str, Any]], list[tuple[str, list[Any]]]]] = {
    "one side is one turn": ([("u", "x"), ("u", "y")], [("u", text("x", "y"))]),
    "the user begins": ([("a", "x"), ("u", "y")], [("u", [FILLED]), ("a", text("x")), ("u", text("y"))]),
    "a call of the assistant begins": (
        [("a", "#1"), ("t", "1")],
        [("u", [FILLED]), ("a", [{"call": "1"}]), ("u", [result("1")])],
    ),
    "a blank user between": (
        [("u", "x"), ("a", "y"), ("u", ""), ("a", "z")],
        [("u", text("x")), ("a", text("y")), ("u", [FILLED]), ("a", text("z"))],
    ),
    "a blank user at the end": (
        [("u", "x"), ("a", "y"), ("u", " ")],
        [("u", text("x")), ("a", text("y")), ("u", [FILLED])],
    ),
    "a blank user alone": ([("u", "")], [("u", [FILLED])]),
    "a blank user beside another": ([("u", ""), ("u", "x")], [("u", text("x"))]),
    "a blank assistant between": (
        [("u", "x"), ("a", ""), ("u", "y")],
        [("u", text("x")), ("a", [FILLED]), ("u", text("y"))],
    ),
    "a blank assistant at the end": ([("u", "x"), ("a", "")], [("u", text("x"))]),
    "a blank assistant at the beginning": ([("a", ""), ("u", "x")], [("u", text("x"))]),
    "a blank assistant alone": ([("a", "")], [("u", [FILLED])]),
    "results in the order of the calls": (
        [("a", "#1 #2"), ("t", "2"), ("t", "1")],
        [("u", [FILLED]), ("a", [{"call": "1"}, {"call": "2"}]), ("u", [result("1"), result("2")])],
    ),
    "a result behind the user": (
        [("u", "x"), ("a", "#1"), ("u", "y"), ("t", "1")],
        [("u", text("x")), ("a", [{"call": "1"}]), ("u", [result("1"), *text("y")])],
    ),
    "a result behind another assistant": (
        [("u", "x"), ("a", "#1"), ("u", "y"), ("a", "z"), ("t", "1")],
        [
            ("u", text("x")),
            ("a", [{"call": "1"}]),
            ("u", [result("1"), *text("y")]),
            ("a", text("z")),
            ("u", [FILLED]),
        ],
    ),
    "no result": (
        [("u", "x"), ("a", "#1 #2"), ("t", "2"), ("u", "y")],
        [
            ("u", text("x")),
            ("a", [{"call": "1"}, {"call": "2"}]),
            ("u", [result("1", None), result("2"), *text("y")]),
        ],
    ),
    "calls at the end": (
        [("u", "x"), ("a", "#1")],
        [("u", text("x")), ("a", [{"call": "1"}]), ("u", [result("1", None)])],
    ),
    "a result without a call": ([("u", "x"), ("t", "9")], [("u", text("x", "of 9"))]),
    "a result before its call": (
        [("t", "1"), ("a", "#1"), ("u", "x")],
        [("u", text("of 1")), ("a", [{"call": "1"}]), ("u", [result("1", None), *text("x")])],
    ),
    "a repeated result": (
        [("u", "x"), ("a", "#1"), ("t", "1"), ("t", "1")],
        [("u", text("x")), ("a", [{"call": "1"}]), ("u", [result("1")])],
    ),
    "an id of two turns": (
        [("u", "x"), ("a", "#1"), ("t", "1"), ("a", "#1"), ("t", "1")],
        [
            ("u", text("x")),
            ("a", [{"call": "1"}]),
            ("u", [result("1")]),
            ("a", [{"call": "1_2"}]),
            ("u", [result("1_2", "1")]),
        ],
    ),
    "an id twice in one turn": (
        [("u", "x"), ("a", "#1 #1"), ("t", "1"), ("t", "1")],
        [("u", text("x")), ("a", [{"call": "1"}, {"call": "1_2"}]), ("u", [result("1"), result("1_2", "1")])],
    ),
    "a result by name": (
        [("u", "x"), ("a", "#f"), ("n", "f")],
        [("u", text("x")), ("a", [{"call": "f"}]), ("u", [result("f")])],
    ),
    "a result by another name": (
        [("u", "x"), ("a", "#f"), ("n", "g")],
        [("u", text("x")), ("a", [{"call": "f"}]), ("u", [result("f", None), *text("of g")])],
    ),
    "a result without id and name": (
        [("u", "x"), ("a", "#f #g"), ("n", None), ("n", None)],
        [
            ("u", text("x")),
            ("a", [{"call": "f"}, {"call": "g"}]),
            ("u", [result("f", None), result("g", None)]),
        ],
    ),
    "what is beside a result": (
        [("u", "x"), ("a", "#b #c"), ("t", "b"), ("t", "c"), ("u", "y")],
        [
            ("u", text("x")),
            ("a", [{"call": "b"}, {"call": "c"}]),
            ("u", [result("b"), result("c"), {"beside": "b"}, *text("y")]),
        ],
    ),
    "no message": ([], []),
}


@pytest.mark.parametrize(("messages", "legal"), CASES.values(), ids=CASES)
def test_a_history_becomes_legal(messages: list[tuple[str, Any]], legal: list[tuple[str, list[Any]]]) -> None:
    assert turns(*messages) == legal
