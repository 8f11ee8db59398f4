"""What a model refuses, alone or beside another."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.dialects.refused import asks, refused


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


@pytest.mark.parametrize("given", [{"logprobs": True}, {"stop": ["a"]}, {"n": 2}, {"logit_bias": {"1": 5}}])
def test_what_changes_the_meaning_is_refused_and_not_left_out(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        refused(tuple(given), given)

    assert caught.value.param == next(iter(given))


@pytest.mark.parametrize(
    "given", [{"logprobs": False}, {"stop": []}, {"n": 1}, {"temperature": 1.0}, {"logit_bias": {}}]
)
def test_what_asks_for_nothing_is_no_wish(given: dict[str, Any]) -> None:
    [(name, value)] = given.items()

    assert refused((name,), given) == [name]
    assert not asks(name, value)
