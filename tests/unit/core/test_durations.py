"""Durations as people read them."""

from __future__ import annotations

import pytest

from proxy.core.durations import duration_text, go_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1.0, "0 s"),
        (0.0, "0 s"),
        (0.25, "0.25 s"),
        (3.0, "3 s"),
        (90.0, "90 s"),
        (119.9, "120 s"),
        (120.0, "2 min"),
        (125.0, "2 min 5 s"),
        (3_599.9, "60 min"),
        (3_600.0, "1 h"),
        (5_400.0, "1 h 30 min"),
        (86_399.0, "24 h"),
        (86_500.0, "1 d"),
        (8.65e4 + 3_600, "1 d 1 h"),
        (8.64e6, "100 d"),
    ],
)
def test_a_duration_has_at_most_two_units(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1.0, "0ms"),
        (0.0, "0ms"),
        (0.0201, "21ms"),
        (0.02, "20ms"),
        (1.0, "1s"),
        (7.66, "7.66s"),
        (59.9999, "1m0s"),
        (60.0, "1m0s"),
        (360.0, "6m0s"),
        (3600.0, "1h0m0s"),
        (86_400.0, "24h0m0s"),
    ],
)
def test_a_duration_in_a_header_has_the_form_of_openai(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text
