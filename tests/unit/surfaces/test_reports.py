"""The parameters of usage reports, and their rows."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.surfaces.reports import UsageQuery, read_usage_query, usage_page, usage_row

NOW = 1_800_000_000.0
US = 1_000_000
DAY = 86_400


def test_the_default_is_one_row_of_the_last_30_days() -> None:
    assert read_usage_query([], NOW) == UsageQuery((), int(NOW - 30 * DAY) * US, int(NOW) * US)


@pytest.mark.parametrize(
    "parameters",
    [
        [("group_by", "key,model"), ("start", "2027-01-01"), ("end", "2027-01-02T00:00:00Z")],
        [("group_by", "key"), ("group_by", "model,key"), ("start", "1798761600"), ("end", "1798848000")],
    ],
)
def test_parameters_have_several_forms(parameters: list[tuple[str, str]]) -> None:
    query = read_usage_query(parameters, NOW)

    assert query == UsageQuery(("key", "model"), 1_798_761_600 * US, 1_798_848_000 * US)


def test_filters_may_be_repeated() -> None:
    query = read_usage_query([("user", "ann"), ("user", "bob"), ("route", "tier/low")], NOW)

    assert query.filters == {"user": ["ann", "bob"], "route": ["tier/low"]}


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ([("group_by", "digest")], "group_by"),
        ([("usr", "ann")], "usr"),
        ([("user", "")], "user"),
        ([("user", "a\0b")], "user"),
        ([("user", "x" * 257)], "user"),
        ([("user", "x")] * 101, "user"),
        ([("start", "later")], "start"),
        ([("end", "1e9")], "end"),
        ([("start", "2027-02-01"), ("end", "2027-01-01")], "start"),
        ([("\n" * 200, "x")], "?" * 80),
    ],
)
def test_an_invalid_parameter_is_named(parameters: list[tuple[str, str]], name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_usage_query(parameters, NOW)

    assert caught.value.param == name


def test_only_allowed_filters_exist() -> None:
    with pytest.raises(InvalidRequest, match="there is no such parameter"):
        read_usage_query([("user", "ann")], NOW, allowed=("key",))


def test_a_row_is_shown_in_dollars_and_iso_8601() -> None:
    counts = ("requests", "errors", "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens")
    row: dict[str, Any] = {
        "key": "key_1",
        "day": 1_799_971_200 * US,
        "hour": 1_800_000_000 * US,
        **dict.fromkeys((*counts, "reasoning_tokens", "audio_tokens"), 3),
        "cost_nusd": 1_500_000_000,
        "own_key_nusd": 1,
    }

    shown = usage_row(row, ("key", "day", "hour"))

    assert (shown["key"], shown["day"], shown["hour"]) == ("key_1", "2027-01-15", "2027-01-15T08:00:00Z")
    assert (shown["cost_usd"], shown["own_key_cost_usd"], shown["requests"]) == (1.5, 1e-9, 3)


COUNTS = (
    "requests",
    "errors",
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "audio_tokens",
    "cost_nusd",
    "own_key_nusd",
)


def test_rows_have_pages() -> None:
    rows: list[dict[str, Any]] = [{"key": f"key_{number}", **dict.fromkeys(COUNTS, 0)} for number in range(5)]

    def page(*parameters: tuple[str, str]) -> tuple[list[str], bool, str | None]:
        page = usage_page(read_usage_query([("group_by", "key"), *parameters], NOW), rows)
        return [row["key"] for row in page["data"]], page["has_more"], page["last_id"]

    assert page(("limit", "2")) == (["key_0", "key_1"], True, "2")
    assert page(("limit", "3"), ("after", "2")) == (["key_2", "key_3", "key_4"], False, "5")
    assert page(("after", "77")) == ([], False, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [("after", value) for value in ("", "-1", "x", "1" * 10, "²")] + [("limit", value) for value in ("0", "1001", "x")],
)
def test_an_invalid_page_is_rejected(name: str, value: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_usage_query([(name, value)], NOW)

    assert caught.value.param == name
