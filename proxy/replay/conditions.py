"""Conditions on a report, such as `cost>+5%`, with which a replay fails in CI."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FIGURES = ("cost", "latency", "success", "moved", "rejected")
_FORM = re.compile(rf"\s*({'|'.join(FIGURES)})\s*([<>])\s*([+-]?\d+(?:\.\d+)?)\s*(%?)\s*", re.ASCII)
_SECTIONS = {"cost": "cost_usd", "latency": "latency_ms", "success": "success"}


@dataclass(frozen=True, slots=True)
class Condition:
    """A bound that a figure must not be beyond.

    Of `cost`, `latency` and `success` the change counts: as a share with `%`, else in USD, milliseconds, probability.
    Of `moved` and `rejected` the calls count: as a share of the replayed ones with `%`, else their number.
    """

    text: str
    figure: str
    above: bool
    bound: float
    is_share: bool

    def value(self, report: Mapping[str, Any]) -> float | None:
        """Return the figure; `None` if the report does not have it."""
        if self.figure in _SECTIONS:
            value = report[_SECTIONS[self.figure]]["share" if self.is_share else "change"]
            return None if value is None else value * (100.0 if self.is_share else 1.0)
        calls = report["calls"]
        number = calls["moved"] if self.figure == "moved" else report["rejections"]["new"]
        if not self.is_share:
            return float(number)
        return 100.0 * number / calls["replayed"] if calls["replayed"] else 0.0

    def failure(self, report: Mapping[str, Any]) -> str | None:
        """Return why the report fails; `None` if it does not."""
        value = self.value(report)
        if value is None or not (value > self.bound if self.above else value < self.bound):
            return None
        unit = "%" if self.is_share else ""
        if self.figure in _SECTIONS:
            return f"{self.text}: {self.figure} changes by {value:+.4g}{unit}"
        return f"{self.text}: {value:.4g}{unit or ' calls'}"


def read_condition(text: str) -> Condition:
    """Read a condition. Raises `ValueError` that says what it must be."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(
            f"must be such as `cost>+5%`: one of {', '.join(FIGURES)}, then > or <, then a number or share"
        )
    figure, sign, bound, percent = match.groups()
    return Condition(text.strip(), figure, sign == ">", float(bound), percent == "%")
