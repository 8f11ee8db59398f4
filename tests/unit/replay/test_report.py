"""Tests of proxy/replay/report.py and proxy/replay/page.py."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

from proxy.replay.page import page
from proxy.replay.replay import Outcome, Served
from proxy.replay.report import Report

DAY = 86_400_000_000
CHEAP, DEAR = Served("a/<small>", 1_000_000, 100.0, 0.5), Served("a/large", 4_000_000, 300.0, 0.8)
UNPRICED = Served("b/free")


def outcome(before: Served | None, after: Served | None, **fields: object) -> Outcome:
    values: dict[str, object] = {"id": "req_1", "time": DAY, "route": "auto", "before": before, "after": after}
    moved = before is not None and after is not None and before.model != after.model
    return Outcome(**{**values, "moved": moved, **fields})  # type: ignore[arg-type]


def report(*outcomes: Outcome) -> dict[str, object]:
    found = Report()
    for each in outcomes:
        found.add(each)
    return found.as_json()


MIXED = (
    outcome(CHEAP, CHEAP),
    outcome(DEAR, CHEAP, time=2 * DAY),
    outcome(DEAR, CHEAP, time=2 * DAY, id="req_2"),
    outcome(DEAR, None, refusal="budget", time=2 * DAY),
    outcome(None, CHEAP, time=2 * DAY),
    outcome(None, None, skipped="no target answered it: x"),
    outcome(CHEAP, UNPRICED, time=3 * DAY, wait_ms=5.0),
)


@pytest.mark.parametrize("groups", ["models", "routes", "days"])
@pytest.mark.parametrize("side", ["before", "after"])
def test_the_costs_of_all_groups_are_the_total(groups: str, side: str) -> None:
    found: Any = report(*MIXED)

    assert sum(row[f"cost_{side}_usd"] for row in found[groups]) == pytest.approx(found["cost_usd"][side])


def test_the_sums_of_both_sides() -> None:
    found = report(*MIXED)

    assert found["calls"] == {
        "recorded": 7,
        "replayed": 6,
        "moved": 3,
        "answered_before": 5,
        "answered_after": 5,
        "queued": 1,
        "skipped": {"no target answered it: x": 1},
    }
    assert found["cost_usd"] == {
        "before": 0.013,
        "after": 0.004,
        "change": -0.009,
        "share": -0.692308,
        "calls_without_price": 1,
    }
    assert found["rejections"] == {"new": 1, "by_reason": {"budget": 1}, "answered_now": 1}
    assert (found["first_call"], found["last_call"]) == ("1970-01-02T00:00:00Z", "1970-01-04T00:00:00Z")


def test_means_compare_the_same_calls() -> None:
    found = report(*MIXED)

    assert found["latency_ms"] == {"calls": 3, "before": 233.3, "after": 100.0, "change": -133.3, "share": -0.571367}
    assert found["success"] == {"calls": 3, "before": 0.7, "after": 0.5, "change": -0.2, "share": -0.285714}


def test_moves_are_grouped_the_most_frequent_first() -> None:
    first, *others = report(*MIXED)["moves"]  # type: ignore[misc]

    assert first == {
        "from": "a/large",
        "to": "a/<small>",
        "calls": 2,
        "cost_before_usd": 0.008,
        "cost_after_usd": 0.002,
        "success_change": -0.3,
        "reasons": {},
        "example": "req_1",
    }
    assert {(move["from"], move["to"]) for move in others} == {
        ("-", "a/<small>"),
        ("a/<small>", "b/free"),
        ("a/large", "-"),
    }
    assert [move["reasons"] for move in others if move["to"] == "-"] == [{"budget": 1}]


def test_days_models_and_routes_have_sums() -> None:
    found = report(*MIXED)

    assert [row["day"] for row in found["days"]] == ["1970-01-02", "1970-01-03", "1970-01-04"]  # type: ignore[attr-defined]
    models = {row["model"]: (row["calls_before"], row["calls_after"]) for row in found["models"]}  # type: ignore[attr-defined]
    assert models == {"a/<small>": (2, 4), "a/large": (3, 0), "b/free": (0, 1)}
    assert [row["route"] for row in found["routes"]] == ["auto"]  # type: ignore[attr-defined]


def test_nothing_is_a_report_too() -> None:
    found = report()

    assert found["latency_ms"] == {"calls": 0, "before": None, "after": None, "change": None, "share": None}
    assert "No call was replayed." in page(found, "Replay")


class Page(HTMLParser):
    """Collects the texts and the tags of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.open: list[str] = []
        self.bars = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.bars += tag == "rect"
        if tag not in ("meta", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "rect":
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_is_well_formed_and_escapes_names() -> None:
    found = Page(page(report(*MIXED), "Replay under <b>.yaml"))

    assert found.open == []
    assert {"Replay under <b>.yaml", "a/<small>", "budget"} <= set(found.texts)
    assert found.bars == 2 * (3 + 3 + 3)
