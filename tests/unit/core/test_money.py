"""Tests of proxy/core/money.py."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from proxy.core.json_text import compact
from proxy.core.model import MediaPrice, MockOptions, Price, PriceTier, PriceTime
from proxy.core.money import (
    cost_nusd,
    highest_cost_nusd,
    nano_dollars,
    output_ceiling,
    requested_ceiling,
    usd,
    worst_case_nusd,
)
from proxy.core.usage import Media, Usage
from tests.support.calls import deployment, provider

PRICE = Price(input=150_000_000, output=600_000_000, cached_input=75_000_000, cache_write=190_000_000)


def test_a_million_tokens_cost_the_price() -> None:
    assert cost_nusd(Usage(input=1_000_000), PRICE) == 150_000_000
    assert cost_nusd(Usage(output=1_000_000), PRICE) == 600_000_000


def test_cached_and_written_tokens_are_parts_of_the_input() -> None:
    usage = Usage(input=1_000, cached=400, cache_write=100)

    assert cost_nusd(usage, PRICE) == 500 * 150 + 400 * 75 + 100 * 190


def test_reasoning_is_part_of_the_output() -> None:
    assert cost_nusd(Usage(output=10, reasoning=8), PRICE) == cost_nusd(Usage(output=10), PRICE)


@pytest.mark.parametrize(("per_million", "cost"), [(499_999, 0), (500_000, 1), (1_499_999, 1), (1_500_000, 2)])
def test_rounds_half_up(per_million: int, cost: int) -> None:
    assert cost_nusd(Usage(input=1), Price(per_million, 0, 0, 0)) == cost


@pytest.mark.parametrize(
    "usage",
    [Usage(input=10, cached=99), Usage(input=10, cached=10, cache_write=10), Usage(input=10, cached=10, output=-5)],
)
def test_parts_never_exceed_the_whole(usage: Usage) -> None:
    assert cost_nusd(usage, PRICE) == 10 * 75


def test_shows_dollars() -> None:
    assert usd(1_500_000_000) == 1.5
    assert usd(0) == 0.0


def test_a_cache_of_one_hour_costs_its_own_price() -> None:
    price = replace(PRICE, cache_write_1h=300_000_000)
    usage = Usage(input=1_000, cache_write=500, cache_write_1h=200)

    assert cost_nusd(usage, price) == 500 * 150 + 300 * 190 + 200 * 300
    assert cost_nusd(usage, PRICE) == 500 * 150 + 500 * 190


def test_reasoning_and_requests_may_have_a_price() -> None:
    price = replace(PRICE, reasoning=900_000_000, request=12_000_000)

    assert cost_nusd(Usage(output=10, reasoning=8), price) == 2 * 600 + 8 * 900 + 12_000_000


AUDIO = MediaPrice(1_000_000_000, 100_000_000, 2_000_000_000, 300_000_000, 30_000_000, 4_000_000_000)


def test_audio_and_images_cost_their_own_price() -> None:
    media = Media(input_audio=100, output_audio=5, input_image=20, cached_image=8, output_image=2)
    usage = Usage(input=1_000, output=50, cached=108, media=Media(*_fields(media, cached_audio=30)))

    parts = 70 * 1_000 + 30 * 100 + 12 * 300 + 8 * 30 + (108 - 38) * 75 + (1_000 - 120 - 70) * 150
    assert cost_nusd(usage, replace(PRICE, media=AUDIO)) == parts + 5 * 2_000 + 2 * 4_000 + 43 * 600
    assert cost_nusd(usage, PRICE) == (1_000 - 108) * 150 + 108 * 75 + 50 * 600


def _fields(media: Media, **changed: int) -> list[int]:
    return [changed.get(name, getattr(media, name)) for name in Media.__struct_fields__]


def test_audio_and_cached_tokens_that_must_overlap_are_counted_once() -> None:
    usage = Usage(input=100, cached=80, media=Media(input_audio=90))

    assert cost_nusd(usage, replace(PRICE, media=AUDIO)) == 20 * 1_000 + 70 * 100 + 10 * 75


LONG = replace(PRICE, input=300_000_000, output=900_000_000)


@pytest.mark.parametrize(("tokens", "rate"), [(200_000, 150), (200_001, 300), (999_999, 300), (1_000_001, 450)])
def test_a_tier_prices_all_tokens(tokens: int, rate: int) -> None:
    longest = replace(LONG, input=450_000_000)
    price = replace(PRICE, tiers=(PriceTier(200_000, LONG), PriceTier(1_000_000, longest)))

    assert cost_nusd(Usage(input=tokens), price) == tokens * rate


HOUR_US = 3_600 * 10**6
PEAK = replace(PRICE, input=300_000_000)


@pytest.mark.parametrize(("hour", "rate"), [(0, 150), (1, 300), (3.999, 300), (4, 150), (25, 300)])
def test_the_time_of_day_counts(hour: float, rate: int) -> None:
    price = replace(PRICE, times=(PriceTime(PEAK, day_from=3_600, day_until=4 * 3_600),))

    assert cost_nusd(Usage(input=1_000), price, int(hour * HOUR_US)) == 1_000 * rate


@pytest.mark.parametrize(("hour", "rate"), [(23, 300), (24.5, 300), (25, 150), (22.9, 150)])
def test_a_part_of_the_day_may_cross_midnight(hour: float, rate: int) -> None:
    price = replace(PRICE, times=(PriceTime(PEAK, day_from=23 * 3_600, day_until=3_600),))

    assert cost_nusd(Usage(input=1_000), price, int(hour * HOUR_US)) == 1_000 * rate


def test_a_price_may_begin_later() -> None:
    price = replace(PRICE, times=(PriceTime(PEAK, start=5 * HOUR_US),))

    assert cost_nusd(Usage(input=1), price, 5 * HOUR_US - 1) == 150
    assert cost_nusd(Usage(input=1), price, 5 * HOUR_US) == 300


def test_the_service_tier_of_the_answer_counts() -> None:
    price = replace(PRICE, services=(("priority", PEAK),))

    assert cost_nusd(Usage(input=1, service="priority"), price) == 300
    assert cost_nusd(Usage(input=1, service="scale"), price) == 150


def test_the_highest_cost_is_that_of_the_dearest_time() -> None:
    usage = Usage(input=1_000)
    cheap = replace(PRICE, input=100_000_000)

    assert highest_cost_nusd(usage, PRICE) == 150_000
    assert highest_cost_nusd(usage, replace(PRICE, times=(PriceTime(PEAK, day_from=5, day_until=6),))) == 300_000
    assert highest_cost_nusd(usage, replace(PRICE, times=(PriceTime(cheap),))) == 150_000


def worst(body: dict[str, Any], *, price: Price | None = PRICE, at: int | None = None, **fields: Any) -> int | None:
    of = deployment(price=price, max_output=1_000, **fields)
    return worst_case_nusd(of, body, len(compact(body)), at=at)


def hello(**members: Any) -> dict[str, Any]:
    return {"model": "small", "messages": [{"role": "user", "content": "Hello"}], **members}


def bound(body: dict[str, Any], *, output: int, extra: int = 64) -> int:
    """The bound with the dearest rates of `PRICE`: tokens written to the cache, and output."""
    return (len(compact(body)) + extra) * 190 + output * 600


def test_every_byte_may_be_a_token_and_the_answer_has_its_limit() -> None:
    body = hello(max_tokens=300, n=2)

    assert worst(body) == bound(body, output=600)


def test_without_a_limit_the_answer_has_the_default_one() -> None:
    assert worst(hello()) == bound(hello(), output=1_000)
    assert output_ceiling(deployment(max_output=10**6)) == 16_384
    assert output_ceiling(deployment()) == 4_096


def test_the_larger_limit_of_both_counts() -> None:
    assert requested_ceiling({"max_tokens": 5, "max_completion_tokens": 7}) == 7
    assert requested_ceiling({"max_tokens": True, "max_completion_tokens": 0}) is None


def test_all_prompts_and_candidates_of_a_completion_count() -> None:
    body = {"prompt": ["a", "b", "c"], "max_tokens": 10, "n": 2, "best_of": 4}

    assert worst(body, kind="completion") == bound(body, output=10 * 3 * 4)


def test_a_list_of_token_numbers_is_one_prompt() -> None:
    body = {"prompt": [17, 18, 19], "max_tokens": 10}

    assert worst(body, kind="completion") == bound(body, output=10)


def test_only_max_tokens_limits_a_text_completion() -> None:
    body = {"prompt": "a", "max_completion_tokens": 1}

    assert worst(body, kind="completion") == bound(body, output=16)
    assert worst(body | {"max_tokens": 0}, kind="completion") == bound(body | {"max_tokens": 0}, output=0)


@pytest.mark.parametrize("members", [{"n": "5"}, {"n": 5.0}, {"best_of": 5.0}])
def test_a_number_of_answers_that_servers_may_convert_has_no_bound(members: dict[str, Any]) -> None:
    assert worst({"prompt": "a", "max_tokens": 1, **members}, kind="completion") is None


def test_a_limit_that_is_not_sent_bounds_nothing() -> None:
    without = frozenset({"max_tokens", "max_completion_tokens"})

    assert worst(hello(max_tokens=1), unsupported=without) == bound(hello(max_tokens=1), output=1_000)
    unknown = deployment(price=PRICE, unsupported=without)
    assert worst_case_nusd(unknown, hello(max_tokens=1), 100) is None


def test_embeddings_have_no_output() -> None:
    body = {"input": ["one", "two"]}

    assert worst(body, kind="embedding") == bound(body, output=0)


def test_a_prediction_may_be_paid_as_output() -> None:
    body = hello(max_tokens=10, prediction={"type": "content", "content": "x" * 100})

    assert worst(body) == bound(body, output=10 + len(compact(body)))


def test_providers_add_tokens_to_tools() -> None:
    body = hello(max_tokens=1, tools=[{"type": "function", "function": {"name": "f"}}])

    assert worst(body) == bound(body, output=1, extra=64 + 1_024)


def test_a_response_format_may_become_a_tool() -> None:
    body = hello(max_tokens=1, response_format={"type": "json_object"})

    assert worst(body) == bound(body, output=1, extra=64 + 1_024)


def content(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "Look"}, *parts]}], "max_tokens": 1}


def test_an_image_has_at_most_the_tokens_of_the_catalogue() -> None:
    url = "data:image/png;base64," + "A" * 5_000
    body = content({"type": "image_url", "image_url": {"url": url}})

    assert worst(body, image_tokens=1_445) == bound(body, output=1, extra=64 + 1_445 - len(url))


def test_a_remote_image_has_them_too() -> None:
    body = content({"type": "image_url", "image_url": {"url": "https://example.org/a.png"}})

    assert worst(body, image_tokens=1_445) == bound(body, output=1, extra=64 + 1_445)


@pytest.mark.parametrize(
    ("part", "data"),
    [
        ({"type": "image_url", "image_url": "https://example.org/a.png"}, 0),
        ({"type": "input_audio", "input_audio": {"data": "A" * 400, "format": "wav"}}, 400),
        ({"type": "file", "file": {"file_data": "A" * 300}}, 300),
        ({"type": "file", "file": {"file_id": "file-1"}}, 0),
        ({"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}}, 0),
    ],
)
def test_other_attachments_fill_the_context_window_at_most(part: dict[str, Any], data: int) -> None:
    body = content(part)

    assert worst(body, context_window=8_000) == bound(body, output=1, extra=64 + 8_000 - data)
    assert worst(body) is None


def test_parts_of_text_are_bytes() -> None:
    body = content({"type": "refusal", "refusal": "No"}, {"type": "thinking", "thinking": [{"type": "text"}]})

    assert worst(body) == bound(body, output=1)


@pytest.mark.parametrize(
    "members",
    [
        *({"web_search_options": {"search_context_size": "low"}}, {"tools": [{"type": "web_search"}]}),
        *({"plugins": [{"id": "web"}]}, {"models": ["large"]}, {"fallbacks": ["large"]}),
    ],
)
def test_searches_and_other_models_have_no_bound(members: dict[str, Any]) -> None:
    assert worst(hello(**members)) is None


@pytest.mark.parametrize("kind", ["image", "audio"])
def test_images_and_audio_have_no_bound(kind: str) -> None:
    assert worst({"prompt": "A cat"}, kind=kind) is None


def test_without_a_price_there_is_no_bound() -> None:
    assert worst(hello(), price=None) is None


def test_the_mock_costs_nothing() -> None:
    assert worst(hello(), of=provider(stand_in=True)) == 0
    assert worst(hello(), price=None, of=provider(mock=MockOptions())) == 0


def test_the_dearest_tier_within_reach_counts() -> None:
    price = replace(PRICE, tiers=(PriceTier(1_000, LONG), PriceTier(10**9, replace(PRICE, input=10**12))))
    short, long = hello(max_tokens=1), hello(max_tokens=1, user="x" * 1_000)

    assert worst(short, price=price) == bound(short, output=1)
    assert worst(long, price=price) == (len(compact(long)) + 64) * 300 + 900


def test_a_price_that_begins_within_a_minute_counts() -> None:
    price = replace(PRICE, times=(PriceTime(PEAK, start=5 * HOUR_US),))
    body = hello(max_tokens=1)
    dear = (len(compact(body)) + 64) * 300 + 600

    assert worst(body, price=price, at=5 * HOUR_US - 61 * 10**6) == bound(body, output=1)
    assert worst(body, price=price, at=5 * HOUR_US - 59 * 10**6) == dear
    assert worst(body, price=price) == dear


def test_a_service_tier_may_cost_more() -> None:
    price = replace(PRICE, services=(("flex", LONG),))
    body = hello(max_tokens=1, service_tier="auto")

    assert worst(body, price=price) == (len(compact(body)) + 64) * 300 + 900
    assert worst(hello(max_tokens=1), price=price) == bound(hello(max_tokens=1), output=1)


@pytest.mark.parametrize("tier", ["priority", "fast", "ultrafast", "gold"])
def test_a_dearer_service_tier_without_its_price_has_no_bound(tier: str) -> None:
    price = replace(PRICE, services=((tier, LONG),))
    body = hello(max_tokens=1, service_tier=tier)

    assert worst(body) is None
    assert worst(body, unsupported=frozenset({"service_tier"})) is not None
    assert (worst(body, price=price) is None) == (tier == "gold")


@pytest.mark.parametrize("tier", ["auto", "default", "flex", "scale"])
def test_a_service_tier_that_costs_no_more_has_a_bound(tier: str) -> None:
    body = hello(max_tokens=1, service_tier=tier)

    assert worst(body) == bound(body, output=1)


def test_a_fraction_is_rounded_up() -> None:
    tiny = Price(1, 0, 1, 1)

    assert worst(hello(), price=tiny) == 1


def test_nano_dollars_are_exact() -> None:
    assert nano_dollars(Decimal("0.0028")) == 2_800_000
    assert nano_dollars(Decimal("0.000000001")) == 1
    assert nano_dollars(0.1) == 100_000_000
