"""Tables of the shell commands."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.commands.tables import block, table, text


def test_columns_are_aligned_and_numbers_to_the_right() -> None:
    rows = [{"id": "ann", "n": 5, "x": 1}, {"id": "bartholomew", "n": 1000}]

    assert table(("id", "n"), rows).splitlines() == [
        "id              n",
        "ann             5",
        "bartholomew  1000",
    ]


def test_a_block_has_one_field_a_line() -> None:
    assert block({"id": "ann", "disabled": True}) == "id        ann\ndisabled  yes"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        ([], "-"),
        (["a", "b"], "a,b"),
        (False, "no"),
        (0.25, "0.25"),
        (1.0, "1"),
        (1e-9, "0.000000001"),
        ({"rpm": 5, "tpm": None}, "rpm=5"),
        ({"usd": 5.0, "period": "month", "hard": True}, "5 USD/month"),
        ({"usd": 0.5, "period": "day", "hard": False}, "0.5 USD/day soft"),
        ("a\x1b[31m\n", "a?[31m?"),
    ],
)
def test_values_are_short_and_printable(value: Any, shown: str) -> None:
    assert text(value) == shown
