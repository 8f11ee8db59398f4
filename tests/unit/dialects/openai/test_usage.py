"""Tokens as providers report them."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.usage import Media, Usage, UsageBounds, asking
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
        ({"prompt_tokens": 3, "total_tokens": 7}, Usage(3, 4)),
        ({"prompt_tokens": 3, "completion_tokens": None, "total_tokens": 7}, Usage(3, 4)),
        ({"input_tokens": 3, "output_tokens": 4, "input_tokens_details": {"cached_tokens": 1}}, Usage(3, 4, cached=1)),
        ({"prompt_tokens": 3.0, "completion_tokens": 4.9}, Usage(3, 4)),
        (
            {
                "prompt_tokens": 32,
                "completion_tokens": 9,
                "total_tokens": 135,
                "completion_tokens_details": {"reasoning_tokens": 94},
            },
            Usage(32, 103, reasoning=94),
        ),
        ({"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 9}}, Usage(3, 4, 3)),
        ({"prompt_tokens": -1, "completion_tokens": 4}, Usage(0, 4, source="clamped")),
        ({"prompt_tokens": 3, "completion_tokens": -4}, Usage(3, 0, source="clamped")),
        ({"prompt_tokens": 10**12, "completion_tokens": 4}, Usage(100, 4, source="clamped")),
        ({"prompt_tokens": 3, "completion_tokens": 10**4000}, Usage(3, 50, source="clamped")),
        ({"prompt_tokens": 1e300, "completion_tokens": float("inf")}, Usage(100, 50, source="clamped")),
        (
            {"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 10**12}},
            Usage(3, 4, cached=3, source="clamped"),
        ),
    ],
)
def test_usage_is_read(value: Any, usage: Usage) -> None:
    assert usage_of(value, UsageBounds(100, 103 if value.get("total_tokens") == 135 else 50)) == usage


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "usage",
        1,
        {},
        {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None},
        {"prompt_tokens": 3, "completion_tokens": None},
        {"prompt_tokens": None, "completion_tokens": 3},
        {"prompt_tokens": "3", "completion_tokens": "4"},
        {"prompt_tokens": True, "completion_tokens": False},
        {"prompt_tokens": 3, "completion_tokens": "9" * 5000},
        {"prompt_tokens": float("nan"), "completion_tokens": 3},
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    ],
)
def test_what_is_no_usage_is_none(value: Any) -> None:
    assert usage_of(value) is None


def test_audio_and_images_are_read() -> None:
    value = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "total_tokens": 150,
        "prompt_tokens_details": {
            "cached_tokens": 30,
            "audio_tokens": 40,
            "image_tokens": 9,
            "cached_tokens_details": {"audio_tokens": 20, "image_tokens": 2},
        },
        "completion_tokens_details": {"audio_tokens": 5, "image_tokens": 6},
    }

    usage = usage_of(value)
    assert usage is not None
    assert usage.media == Media(40, 20, 5, 9, 2, 6)
    assert (usage.media.audio, usage.media.image) == (45, 15)


@pytest.mark.parametrize("details", [{}, {"audio_tokens": 0, "image_tokens": 0}, {"audio_tokens": "4"}, {"text": 3}])
def test_text_has_no_media(details: dict[str, Any]) -> None:
    usage = usage_of({"prompt_tokens": 5, "completion_tokens": 5, "prompt_tokens_details": details})

    assert usage is not None
    assert usage.media is None


@pytest.mark.parametrize(
    ("service", "kept"),
    [
        ("flex", "flex"),
        ("priority", "priority"),
        ("ULTRAFAST", "ultrafast"),
        ("gold", "other"),
        ("default", None),
        ("auto", None),
        (None, None),
        ([], None),
    ],
)
def test_service_tiers_with_their_own_price_are_kept(service: Any, kept: str | None) -> None:
    usage = usage_of({"prompt_tokens": 5, "completion_tokens": 5}, service=service)

    assert usage is not None
    assert usage.service == kept


@pytest.mark.parametrize(("service", "kept"), [(None, "priority"), ("default", None), ("flex", "flex")])
def test_an_answer_without_a_service_tier_has_the_one_of_its_request(service: Any, kept: str | None) -> None:
    bounds = asking(UsageBounds(), "priority")

    usage = usage_of({"prompt_tokens": 5, "completion_tokens": 5}, bounds, service)

    assert usage is not None
    assert usage.service == kept
