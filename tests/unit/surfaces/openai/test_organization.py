"""OpenAI's usage API: parameters as its SDK sends them, and pages that its types accept."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.admin.organization import UsageCompletionsResponse, UsageCostsResponse

from proxy.core.errors import InvalidRequest
from proxy.surfaces.openai.organization import (
    completions_page,
    costs_page,
    read_completions_query,
    read_costs_query,
)

DAY = 86_400
START = 1_799_971_200  # a midnight
NOW = START + 3 * DAY + 5.5
US = 1_000_000
ROW: dict[str, Any] = {
    "requests": 3,
    "input_tokens": 100,
    "cached_tokens": 10,
    "cache_write_tokens": 5,
    "output_tokens": 20,
    "cost_nusd": 1_500_000_000,
}


def test_buckets_cover_the_range_in_whole_days() -> None:
    query = read_completions_query([("start_time", str(START + 5)), ("end_time", str(START + DAY + 1))], NOW)

    assert query.buckets == (START, START + DAY)
    assert (query.usage.start, query.usage.end) == (START * US, (START + 2 * DAY) * US)
    assert (query.usage.group_by, query.next_page) == (("day",), None)


def test_the_default_end_is_now() -> None:
    assert len(read_completions_query([("start_time", str(START))], NOW).buckets) == 4


def test_pages_follow_one_another() -> None:
    seen: list[int] = []
    page: str | None = None
    for _ in range(3):
        parameters = [("start_time", str(START)), ("end_time", str(START + 5 * DAY)), ("limit", "2")]
        query = read_completions_query(parameters + ([("page", page)] if page else []), NOW)
        seen += query.buckets
        page = query.next_page

    assert seen == [START + number * DAY for number in range(5)]
    assert page is None


def test_lists_come_with_brackets_commas_or_repeated() -> None:
    for parameters in (
        [("group_by[]", "model"), ("group_by[]", "api_key_id")],
        [("group_by", "model,api_key_id")],
        [("group_by", "model"), ("group_by", "api_key_id")],
    ):
        query = read_completions_query([("start_time", str(START)), *parameters], NOW)
        assert query.usage.group_by == ("model", "key", "day")


def test_filters_have_our_names() -> None:
    parameters = [("project_ids[]", "red"), ("user_ids[]", "ann"), ("api_key_ids[]", "key_1"), ("models[]", "small")]

    query = read_completions_query([("start_time", str(START)), *parameters], NOW)

    assert query.usage.filters == {"team": ["red"], "user": ["ann"], "key": ["key_1"], "model": ["small"]}


def test_hours_and_minutes_are_buckets_too() -> None:
    hours = read_completions_query([("start_time", str(START)), ("bucket_width", "1h")], NOW)
    minutes = read_completions_query([("start_time", str(START + 59)), ("bucket_width", "1m")], NOW)
    most = read_completions_query([("start_time", str(START)), ("bucket_width", "1m"), ("limit", "1440")], NOW)

    assert (hours.slot, hours.seconds, len(hours.buckets)) == ("hour", 3600, 24)
    assert hours.next_page == f"page_{START + DAY}"
    assert (minutes.slot, minutes.seconds, len(minutes.buckets)) == ("minute", 60, 60)
    assert (minutes.usage.start, minutes.next_page) == (START * US, f"page_{START + 3600}")
    assert most.next_page == f"page_{START + DAY}"


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ([], "start_time"),
        ([("start_time", "yesterday")], "start_time"),
        ([("start_time", "1"), ("bucket_width", "5m")], "bucket_width"),
        ([("start_time", "1"), ("limit", "32")], "limit"),
        ([("start_time", "1"), ("limit", "0")], "limit"),
        ([("start_time", "1"), ("group_by", "digest")], "group_by"),
        ([("start_time", "1"), ("page", "page_0")], "page"),
        ([("start_time", "1"), ("page", "x")], "page"),
        ([("start_time", "1"), ("end_time", "9" * 13)], "end_time"),
        ([("start_time", "1"), ("userids", "x")], "userids"),
        ([("start_time", "1"), ("models", "\0")], "models"),
    ],
)
def test_an_invalid_parameter_is_named(parameters: list[tuple[str, str]], name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_completions_query(parameters, NOW)

    assert caught.value.param == name


def test_a_range_of_all_time_is_no_burden() -> None:
    query = read_costs_query([("start_time", "0"), ("end_time", "253402300799"), ("limit", "180")], NOW)

    assert len(query.buckets) == 180


def test_there_are_no_batches() -> None:
    assert read_completions_query([("start_time", "1"), ("batch", "true")], NOW).nothing
    assert not read_completions_query([("start_time", "1"), ("batch", "false")], NOW).nothing


def test_a_page_of_completions_has_openais_types() -> None:
    parameters = [("start_time", str(START)), ("end_time", str(START + 2 * DAY)), ("group_by", "model,user_id")]
    query = read_completions_query(parameters, NOW)

    page = completions_page(query, [{**ROW, "model": "small", "user": "ann", "day": START * US}])

    parsed = UsageCompletionsResponse.model_validate(page, strict=True)
    [first, second] = parsed.data
    [result] = first.results
    assert result.object == "organization.usage.completions.result"
    assert (result.model, result.user_id, result.project_id) == ("small", "ann", None)
    assert (result.input_tokens, result.input_cached_tokens, result.num_model_requests) == (100, 10, 3)
    assert (second.start_time, second.results) == (START + DAY, [])


def test_a_page_of_costs_has_openais_types() -> None:
    parameters = [("start_time", str(START)), ("end_time", str(START + DAY)), ("group_by[]", "line_item")]
    query = read_costs_query(parameters, NOW)

    page = costs_page(query, [{**ROW, "provider": "acme", "model": "small", "day": START * US}])

    [bucket] = UsageCostsResponse.model_validate(page, strict=True).data
    [result] = bucket.results
    assert result.object == "organization.costs.result"
    assert result.amount is not None
    assert (result.amount.value, result.amount.currency, result.line_item) == (1.5, "usd", "acme/small")
