"""Tests of proxy/replay/conditions.py."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.replay.conditions import read_condition


def report(*, share: float | None = 0.1, change: float = 5.0, moved: int = 3, rejected: int = 2) -> dict[str, Any]:
    sides = {"change": change, "share": share}
    return {
        "calls": {"moved": moved, "replayed": 10},
        "cost_usd": sides,
        "latency_ms": sides,
        "success": {"change": -0.03, "share": -0.04},
        "rejections": {"new": rejected},
    }


@pytest.mark.parametrize(
    ("text", "fails"),
    [
        ("cost>+5%", True),
        ("cost > 10%", False),
        ("cost>4.5", True),
        ("cost<0", False),
        ("latency>9.9%", True),
        ("success<-0.02", True),
        ("success<-5%", False),
        ("moved>2", True),
        ("moved>30%", False),
        ("rejected>0", True),
        ("rejected>20%", False),
    ],
)
def test_a_condition_compares_a_figure(text: str, fails: bool) -> None:
    assert (read_condition(text).failure(report()) is not None) == fails


@pytest.mark.parametrize("text", ["", "cost", "cost>", "cost>=5%", "price>5", "cost>5%%", "cost>a", "cost>1e5"])
def test_what_is_no_condition_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="cost>"):
        read_condition(text)


def test_a_figure_that_is_unknown_does_not_fail() -> None:
    assert read_condition("cost>0%").failure(report(share=None)) is None


def test_nothing_replayed_is_no_share() -> None:
    assert read_condition("moved>0%").failure({**report(moved=0), "calls": {"moved": 0, "replayed": 0}}) is None


def test_the_failure_says_what_the_figure_is() -> None:
    assert read_condition("cost>+5%").failure(report()) == "cost>+5%: cost changes by +10%"
    assert read_condition("moved>2").failure(report()) == "moved>2: 3 calls"
    assert read_condition("moved>2%").failure(report()) == "moved>2%: 30%"
