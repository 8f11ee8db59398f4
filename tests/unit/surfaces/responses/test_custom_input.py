"""The input of a custom tool, decoded while it arrives."""

from __future__ import annotations

import json

import pytest

from proxy.surfaces.responses.custom_input import CustomInput


def read(*fragments: str) -> list[str]:
    """What each fragment adds, and the end."""
    reader = CustomInput()
    return [*[reader.feed(fragment) for fragment in fragments], reader.finish()]


def test_text_comes_with_its_fragment() -> None:
    assert read(' { "input" : "', "a", "b", '"}') == ["", "a", "b", "", ""]


@pytest.mark.parametrize("text", ['a"b\\c/d\n\t\x00', "é\U0001f600", "\\u0041", "", "{}", '"input":"x"'])
def test_any_cut_gives_the_same_text(text: str) -> None:
    for arguments in (json.dumps({"input": text}), json.dumps({"input": text}, ensure_ascii=False)):
        assert "".join(read(*arguments)) == text


def test_surrogate_pair_waits_for_its_other_half() -> None:
    assert read('{"input":"\\ud83d', "\\ude", '00!"}') == ["", "", "\U0001f600!", ""]


def test_half_a_surrogate_pair_does_not_hold_the_rest() -> None:
    assert "".join(read('{"input":"\\ud83dab"}')) == "\ud83dab"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"note":1,"input":"a"}', "a"),
        ('{"patch":"a"}', '{"patch":"a"}'),
        ('{"input":5}', '{"input":5}'),
        ("*** Begin", "*** Begin"),
        ('{"inp', '{"inp'),
        ("", ""),
    ],
)
def test_other_forms_are_read_at_the_end(arguments: str, text: str) -> None:
    assert read(*arguments) == [""] * len(arguments) + [text]


def test_cut_input_keeps_what_came() -> None:
    assert read('{"input":"ab\\') == ["ab", ""]


def test_invalid_escapes_stay_readable() -> None:
    assert "".join(read('{"input":"\\q\\uzz-rest"}')) == "q\\uzz-rest"
