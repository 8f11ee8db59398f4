"""Tests of proxy/routing/candidates.py."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.routing.candidates import read_query
from tests.unit.routing.build import call, snapshot


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"task": "cooking"}, "router.task"),
        ({"providers": ("openia",)}, "router.providers"),
        ({"exclude": ("openai", "nobody/x")}, "router.exclude"),
        ({"exclude": ("openai/mnii",)}, "router.exclude"),
        ({"fallbacks": ("auto",) * 17}, "router.fallbacks"),
    ],
)
def test_an_option_with_an_unknown_name_is_rejected(options: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_query(call("auto", **options), {})

    assert caught.value.param == param
    assert param in str(caught.value)


def test_excluded_names_may_be_left_out_or_unlisted() -> None:
    on = snapshot(left_out={"gemini": "no key"}, known=["gemini/flash"])

    case = read_query(call("auto", on=on, exclude=("gemini", "gemini/flash", "local/whatever"), task="code"), {})

    assert case.exclude == {"gemini", "gemini/flash", "local/whatever"}
