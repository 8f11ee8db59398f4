"""The limit of a translated request, for models with shorter answers."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.plan import Target
from proxy.upstream.fit import fitted, longest_answer
from tests.support.calls import call, deployment

RAW = b'{"model":"auto","messages":[{"role":"user","content":"Hi"}],"max_completion_tokens":64000}'


@pytest.mark.parametrize(
    ("members", "overrides", "expected"),
    [
        ({}, {}, {}),
        ({"max_output": 64000}, {}, {}),
        ({"max_output": 16384}, {}, {"max_completion_tokens": 16384}),
        ({"max_output": 16384}, {"seed": 1}, {"seed": 1, "max_completion_tokens": 16384}),
        ({"max_output": 16384}, {"max_tokens": 20000}, {"max_tokens": 20000}),
        ({"context_window": 32000}, {}, {"max_completion_tokens": 32000 - len(RAW) // 3}),
        ({"context_window": 2048}, {}, {"max_completion_tokens": 2048}),
    ],
)
def test_limit_fits_the_model(members: dict[str, Any], overrides: dict[str, Any], expected: dict[str, Any]) -> None:
    target = Target(deployment(**members), overrides)

    assert fitted(target, call(RAW)).overrides == expected


def test_call_without_a_limit_gets_none() -> None:
    target = Target(deployment(max_output=10))

    assert fitted(target, call()) is target


def test_large_input_leaves_room_for_an_answer() -> None:
    assert longest_answer(deployment(context_window=100_000), 10_000_000) == 4096
