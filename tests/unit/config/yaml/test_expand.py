"""Expansion of variables in a text."""

import pytest

from proxy.config.yaml.expand import expand

ENVIRON = {"A": "one", "EMPTY": "", "REFERENCE": "${A}"}


@pytest.mark.parametrize(
    ("text", "expected", "whole"),
    [
        ("plain", "plain", False),
        ("${A}", "one", True),
        ("x${A}y${A}", "xoneyone", False),
        ("${B:-two}", "two", True),
        ("${A:-two}", "one", True),
        ("${EMPTY:-two}", "two", True),
        ("${B:-}", "", True),
        ("${EMPTY}", "", True),
        ("$${A}", "${A}", False),
        ("$${A} ${A}", "${A} one", False),
        ("$A {A}", "$A {A}", False),
        ("${B:-http://x:1/y}", "http://x:1/y", True),
        ("${REFERENCE}", "${A}", True),
    ],
)
def test_variables_are_filled_in(text: str, expected: str, whole: bool) -> None:
    expansion = expand(text, ENVIRON)

    assert expansion.text == expected
    assert expansion.whole is whole
    assert not expansion.malformed
    assert expansion.unset == ()


def test_unset_variables_are_named() -> None:
    expansion = expand("${B}${A}${EMPTY}${C}", ENVIRON)

    assert expansion.unset == ("B", "C")
    assert expansion.empty == ("B", "EMPTY", "C")


@pytest.mark.parametrize("text", ["${}", "${A", "${1A}", "${A:=x}", "${A-x}", "${A B}", "${X:-${A}}"])
def test_incomplete_variables_are_malformed(text: str) -> None:
    assert expand(text, ENVIRON).malformed


def test_expanded_text_is_not_in_the_repr() -> None:
    assert "one" not in repr(expand("${A}", ENVIRON))
