"""What a model refuses, alone or beside another."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.dialects.refused import refused


@pytest.mark.parametrize(
    ("unsupported", "given", "left_out"),
    [
        ((), {"temperature": 0.5, "top_p": 0.9}, []),
        (("seed",), {"temperature": 0.5, "seed": 1}, ["seed"]),
        (("temperature+top_p",), {"temperature": 0.5, "top_p": 0.9}, ["top_p"]),
        (("temperature+top_p",), {"temperature": 1, "top_p": 0.9}, ["temperature"]),
        (("temperature+top_p",), {"temperature": 0.5}, []),
        (("temperature+top_p",), {"top_p": 0.5}, []),
        (("temperature", "temperature+top_p"), {"temperature": 0.5, "top_p": 0.9}, ["temperature"]),
    ],
)
def test_what_is_refused_is_left_out(unsupported: tuple[str, ...], given: dict[str, Any], left_out: list[str]) -> None:
    assert refused(unsupported, given) == left_out
