"""Golden invoices: what providers report, at the prices of the book, against sums that are written out by hand.

Prices in the comments are the providers' own, in USD per million tokens. A cost is in nano-dollars: one token at USD 1
per million is 1,000.
"""

from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.core.money import cost_nusd
from proxy.core.usage import Usage
from proxy.dialects.anthropic.usage import usage_of as anthropic_usage
from proxy.dialects.gemini.usage import counts_of
from proxy.dialects.gemini.usage import usage_of as gemini_usage
from proxy.dialects.openai.usage import usage_of as openai_usage
from proxy.prices.book import price_book

NOON = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


def bill(provider: str, model: str, usage: Usage | None, at: datetime = NOON) -> int:
    price = price_book().price_of(provider, model)
    assert price is not None
    assert usage is not None
    return cost_nusd(usage, price, int(at.timestamp()) * 10**6)


def openai(read: int, written: int, *, service: str | None = None, **prompt: Any) -> Usage | None:
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    return openai_usage({**usage, "prompt_tokens_details": prompt}, service=service)


def anthropic(plain: int, written: int, **counts: Any) -> Usage | None:
    return anthropic_usage({"input_tokens": plain, "output_tokens": written, **counts})


def gemini(**metadata: Any) -> Usage | None:
    return gemini_usage(counts_of(metadata))


@pytest.mark.parametrize(
    ("provider", "model", "read", "written"),
    [
        ("openai", "gpt-4-turbo", 10_000, 30_000),  # 0.01 and 0.03 per thousand
        ("openai", "gpt-3.5-turbo", 500, 1_500),  # 0.0005 and 0.0015 per thousand
        ("anthropic", "claude-3-opus-20240229", 15_000, 75_000),  # 0.015 and 0.075 per thousand
        ("anthropic", "claude-3-sonnet-20240229", 3_000, 15_000),  # 0.003 and 0.015 per thousand
        ("groq", "llama-3.1-8b-instant", 50, 80),
        ("mistral", "mistral-large-2512", 500, 1_500),
    ],
)
def test_plain_prices(provider: str, model: str, read: int, written: int) -> None:
    assert bill(provider, model, openai(1_000, 1_000)) == 1_000 * read + 1_000 * written
    assert bill(provider, model, openai(1, 0)) == read


def test_a_long_prompt_of_gemini_costs_the_prices_of_its_tier() -> None:
    # Gemini 2.5 Pro: 1.25 and 10, cached 0.125; above 200,000 tokens 2.50 and 15, cached 0.25
    long = gemini(promptTokenCount=300_000, candidatesTokenCount=1_000, thoughtsTokenCount=500)
    edge = gemini(promptTokenCount=200_000, candidatesTokenCount=1_000, thoughtsTokenCount=500)
    cached = gemini(promptTokenCount=300_000, cachedContentTokenCount=100_000, candidatesTokenCount=10)

    assert bill("google", "gemini-2.5-pro", long) == 300_000 * 2_500 + 1_500 * 15_000 == 772_500_000
    assert bill("google", "gemini-2.5-pro", edge) == 200_000 * 1_250 + 1_500 * 10_000 == 265_000_000
    assert bill("google", "gemini-2.5-pro", cached) == 200_000 * 2_500 + 100_000 * 250 + 10 * 15_000


def test_a_cache_write_of_anthropic_for_an_hour_costs_twice_the_input() -> None:
    # Claude Sonnet 4.6: 3 and 15, cache read 0.30, write for 5 minutes 3.75, for an hour 6
    usage = anthropic(
        1_000,
        200,
        cache_read_input_tokens=50_000,
        cache_creation_input_tokens=12_000,
        cache_creation={"ephemeral_5m_input_tokens": 2_000, "ephemeral_1h_input_tokens": 10_000},
    )

    parts = 1_000 * 3_000 + 50_000 * 300 + 2_000 * 3_750 + 10_000 * 6_000 + 200 * 15_000
    assert bill("anthropic", "claude-sonnet-4-6", usage) == parts == 88_500_000


def test_a_cache_write_without_details_lasts_five_minutes() -> None:
    usage = anthropic(10, 1, cache_creation_input_tokens=1_000)

    assert bill("anthropic", "claude-sonnet-4-6", usage) == 10 * 3_000 + 1_000 * 3_750 + 15_000


@pytest.mark.parametrize(
    ("time", "rate", "cached"),
    [
        (datetime(2026, 11, 30, 0, 59, 59, tzinfo=UTC), 660, 22),
        (datetime(2026, 11, 30, 1, 0, tzinfo=UTC), 1_320, 44),
        (datetime(2026, 11, 30, 3, 59, 59, tzinfo=UTC), 1_320, 44),
        (datetime(2026, 11, 30, 4, 0, tzinfo=UTC), 660, 22),
        (datetime(2026, 11, 30, 6, 0, tzinfo=UTC), 1_320, 44),
        (datetime(2026, 11, 30, 10, 0, tzinfo=UTC), 660, 22),
        (datetime(2026, 11, 30, 18, 0, tzinfo=UTC), 660, 22),
    ],
)
def test_deepseek_costs_twice_as_much_in_peak_hours(time: datetime, rate: int, cached: int) -> None:
    # DeepSeek V4 Pro: 0.66 and 1.98, cached 0.022; from 1:00 to 4:00 and from 6:00 to 10:00 UTC twice as much
    body = {
        "prompt_tokens": 10_000,
        "completion_tokens": 500,
        "total_tokens": 10_500,
        "prompt_cache_hit_tokens": 4_000,
        "prompt_cache_miss_tokens": 6_000,
    }

    cost = bill("deepseek", "deepseek-v4-pro", openai_usage(body), time)
    assert cost == 6_000 * rate + 4_000 * cached + 500 * 3 * rate


@pytest.mark.parametrize(
    ("time", "read", "written"),
    [
        (datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), 750, 3_750),
        (datetime(2027, 1, 1, tzinfo=UTC), 1_500, 7_500),
    ],
)
def test_gemini_flash_costs_twice_as_much_from_2027(time: datetime, read: int, written: int) -> None:
    usage = gemini(promptTokenCount=1_000, candidatesTokenCount=100)

    assert bill("google", "gemini-3.6-flash", usage, time) == 1_000 * read + 100 * written


def test_audio_of_gemini_costs_more_than_text() -> None:
    # Gemini 2.5 Flash: 0.30, audio 1.00, cached 0.03, cached audio 0.10, output 2.50
    usage = gemini(
        promptTokenCount=1_500,
        cachedContentTokenCount=300,
        candidatesTokenCount=40,
        promptTokensDetails=[{"modality": "TEXT", "tokenCount": 500}, {"modality": "AUDIO", "tokenCount": 1_000}],
        cacheTokensDetails=[{"modality": "AUDIO", "tokenCount": 200}, {"modality": "TEXT", "tokenCount": 100}],
    )

    parts = 400 * 300 + 100 * 30 + 800 * 1_000 + 200 * 100 + 40 * 2_500
    assert bill("google", "gemini-2.5-flash", usage) == parts == 1_043_000


def test_an_image_by_gemini_costs_more_than_text() -> None:
    # Gemini 2.5 Flash Image: 0.30, output 2.50, images 30
    usage = gemini(
        promptTokenCount=10,
        candidatesTokenCount=1_300,
        candidatesTokensDetails=[{"modality": "IMAGE", "tokenCount": 1_290}],
    )

    assert bill("google", "gemini-2.5-flash-image", usage) == 10 * 300 + 10 * 2_500 + 1_290 * 30_000


def test_audio_of_openai() -> None:
    # GPT Audio: 2.50 and 10, audio 32 and 64
    body = {
        "prompt_tokens": 120,
        "completion_tokens": 250,
        "total_tokens": 370,
        "prompt_tokens_details": {"audio_tokens": 100, "cached_tokens": 0},
        "completion_tokens_details": {"audio_tokens": 200, "reasoning_tokens": 0},
    }

    assert bill("openai", "gpt-audio", openai_usage(body)) == 20 * 2_500 + 100 * 32_000 + 50 * 10_000 + 200 * 64_000


@pytest.mark.parametrize("details", [{"output_tokens_details": {"image_tokens": 4_160, "text_tokens": 0}}, {}])
def test_images_of_openai(details: dict[str, Any]) -> None:
    # GPT Image 1.5: 5, input images 8, output images 32
    body = {
        "input_tokens": 250,
        "output_tokens": 4_160,
        "total_tokens": 4_410,
        "input_tokens_details": {"text_tokens": 50, "image_tokens": 200},
        **details,
    }

    assert bill("openai", "gpt-image-1.5", openai_usage(body)) == 50 * 5_000 + 200 * 8_000 + 4_160 * 32_000


def test_a_transcription_of_openai() -> None:
    # GPT-4o Transcribe: 2.50 and 10, audio 6
    body = {
        "input_tokens": 130,
        "output_tokens": 45,
        "total_tokens": 175,
        "input_token_details": {"text_tokens": 30, "audio_tokens": 100},
    }

    assert bill("openai", "gpt-4o-transcribe", openai_usage(body)) == 30 * 2_500 + 100 * 6_000 + 45 * 10_000


@pytest.mark.parametrize(
    ("service", "read", "cached", "written"),
    [
        (None, 1_250, 125, 10_000),
        ("default", 1_250, 125, 10_000),
        ("flex", 625, 62, 5_000),
        ("priority", 2_500, 250, 20_000),
    ],
)
def test_service_tiers_of_openai(service: str | None, read: int, cached: int, written: int) -> None:
    # GPT-5.1: 1.25 and 10, cached 0.125; flex: half; priority: twice
    usage = openai(1_000, 10, service=service, cached_tokens=600)

    half = 300 if service == "flex" else 0  # half a nano-dollar for each of 600 cached tokens
    assert bill("openai", "gpt-5.1", usage) == 400 * read + 600 * cached + half + 10 * written


def test_xai_counts_reasoning_beside_the_answer() -> None:
    # Grok 4.5: 2 and 6, cached 0.30; from 200,000 tokens twice as much
    body = {
        "prompt_tokens": 200_000,
        "completion_tokens": 10,
        "total_tokens": 200_310,
        "prompt_tokens_details": {"cached_tokens": 50_000},
        "completion_tokens_details": {"reasoning_tokens": 300},
    }

    assert bill("x-ai", "grok-4.5", openai_usage(body)) == 150_000 * 4_000 + 50_000 * 600 + 310 * 12_000


def test_a_fraction_of_a_nano_dollar_is_rounded_once() -> None:
    # Groq GPT-OSS 20B: 0.075 and 0.30, cached 0.0375
    usage = openai(3, 1, cached_tokens=1)

    assert bill("groq", "openai/gpt-oss-20b", usage) == round(2 * 75 + 37.5 + 300 + 0.01) == 488
