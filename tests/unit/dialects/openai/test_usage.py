"""Tokens as providers report them."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.types import Usage
from proxy.dialects.openai.usage import usage_of


@pytest.mark.parametrize(
    ("value", "usage"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}, Usage(3, 4)),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 8,
                "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 2},
                "completion_tokens_details": {"reasoning_tokens": 6},
            },
            Usage(9, 8, cached=5, cache_write=2, reasoning=6),
        ),
        ({"prompt_tokens": 9, "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 5}, Usage(9, cached=4)),
        ({"prompt_tokens": 1, "prompt_tokens_details": None, "completion_tokens_details": []}, Usage(1)),
        ({"prompt_tokens": -1, "completion_tokens": "4"}, Usage()),
        ({"prompt_tokens": True, "completion_tokens": 1.5}, Usage()),
        ({}, Usage()),
    ],
)
def test_usage_is_read(value: Any, usage: Usage) -> None:
    assert usage_of(value) == usage


@pytest.mark.parametrize("value", [None, [], "usage", 1])
def test_what_is_no_usage_is_none(value: Any) -> None:
    assert usage_of(value) is None
