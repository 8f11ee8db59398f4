"""The price book: the same as the installed library, found by address and by model id."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.metadata import version

import pytest
from genai_prices import types
from genai_prices.data import providers

from proxy.core.model import Price, PriceTime
from proxy.core.money import cost_nusd
from proxy.core.usage import Usage
from proxy.prices.book import price_book
from tools.prices import BOOK, book, text

ON = date.fromisoformat(json.loads(BOOK.read_text(encoding="utf-8"))["date"])
NOON_US = int(datetime(ON.year, ON.month, ON.day, 12, tzinfo=UTC).timestamp()) * 10**6


def test_the_file_is_compiled_from_the_installed_library() -> None:
    """If this fails, run `python -m tools.prices`."""
    assert price_book().version == f"genai-prices {version('genai-prices')}"
    assert BOOK.read_text(encoding="utf-8") == text(book(ON))


@pytest.mark.parametrize(
    ("address", "provider"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://generativelanguage.googleapis.com", "google"),
        ("https://us-central1-aiplatform.googleapis.com/v1/projects/p", "google"),
        ("https://mine.openai.azure.com/openai/v1", "azure"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("https://api.openai.com.example.org/v1", None),
        ("http://127.0.0.1:11434/v1", None),
    ],
)
def test_a_provider_is_found_by_its_address(address: str, provider: str | None) -> None:
    assert price_book().provider_at(address) == provider


def found(provider: str, model: str) -> Price:
    price = price_book().price_of(provider, model)
    assert price is not None
    return price


@pytest.mark.parametrize(
    ("provider", "model"),
    [("openai", "gpt-4o-2099-01-01-unheard-of"), ("nobody", "gpt-4o"), ("openai", "whisper-1"), ("openai", "tts-1")],
)
def test_other_models_have_no_price(provider: str, model: str) -> None:
    assert price_book().price_of(provider, model) is None


def test_ids_are_compared_without_case_and_with_either_form_of_a_date() -> None:
    dated = found("openai", "gpt-4o-mini-2024-07-18")

    assert found("openai", "GPT-4o-mini-2024-07-18") == dated
    assert found("openai", "gpt-4o-mini-20240718") == dated


def test_another_provider_s_model_has_its_price_without_service_tiers() -> None:
    own, served = found("openai", "gpt-5.1"), found("azure", "gpt-5.1")

    assert [name for name, _ in own.services] == ["flex", "priority", "fast"]
    assert served.services == ()
    assert served.input == own.input


def test_tiers_are_compiled() -> None:
    [tier] = found("google", "gemini-2.5-pro").tiers

    assert tier.above == 200_000
    assert (tier.price.input, tier.price.output, tier.price.cached_input) == (
        2_500_000_000,
        15_000_000_000,
        250_000_000,
    )


def test_prices_that_begin_later_are_compiled() -> None:
    [time] = found("google", "gemini-3.8-flash").times

    assert time.start == int(datetime(2027, 1, 1, tzinfo=UTC).timestamp()) * 10**6
    assert time.price.input == 1_500_000_000


def test_hours_of_the_day_are_compiled() -> None:
    times = found("deepseek", "deepseek-flash").times

    assert [(time.day_from, time.day_until) for time in times] == [(6 * 3_600, 10 * 3_600), (3_600, 4 * 3_600)]


def test_audio_without_its_own_price_costs_as_much_as_text() -> None:
    media = found("google", "gemini-2.5-flash").media

    assert media is not None
    assert (media.input_audio, media.cached_audio) == (1_000_000_000, 100_000_000)
    assert (media.output_audio, media.input_image) == (2_500_000_000, 300_000_000)


def test_a_request_may_have_a_price() -> None:
    assert found("perplexity", "sonar").request == 12_000_000


def _names(clause: object) -> Iterator[str]:
    if isinstance(clause, types.ClauseEquals):
        yield clause.equals
    if isinstance(clause, types.ClauseStartsWith):
        yield clause.starts_with
    if isinstance(clause, types.ClauseOr):
        for item in clause.or_:
            yield from _names(item)


NAMES = [
    (provider, name)
    for provider in providers
    if provider.id in ("openai", "anthropic", "google", "mistral", "groq", "deepseek", "x-ai", "openrouter")
    for model in provider.models
    for name in _names(model.match)
]


def test_costs_are_those_of_the_library() -> None:
    """Every id that the library names, with a short and a long prompt, at noon and early in the morning."""
    wrong, priced = [], 0
    for provider, name in NAMES:
        price = price_book().price_of(provider.id, name)
        model = provider.find_model(name, all_providers=providers)
        if price is None or model is None:
            continue
        for tokens in (1_000, 300_000):
            for at in (NOON_US, NOON_US - 10 * 3_600 * 10**6):
                usage = types.Usage(input_tokens=tokens, output_tokens=1_000, cache_read_tokens=500)
                time = datetime.fromtimestamp(at / 10**6, UTC)
                usd = model.calc_price(usage, provider, genai_request_timestamp=time).total_price
                cost = cost_nusd(Usage(input=tokens, output=1_000, cached=500), price, at)
                priced += 1
                if abs(usd * 10**9 - cost) > Decimal("0.5"):
                    wrong.append((provider.id, name, tokens, at, usd, cost))

    assert wrong == []
    assert priced > 4_000


def test_a_price_without_a_time_of_its_own_always_holds() -> None:
    time = PriceTime(found("openai", "gpt-4o"))

    assert time.is_active(0)
    assert time.is_active(NOON_US)
