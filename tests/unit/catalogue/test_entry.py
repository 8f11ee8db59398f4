"""The list itself: every entry is sound, sourced and dated."""

import re
from decimal import Decimal
from typing import get_args

import pytest

from proxy.catalogue.entry import EFFORTS, Entry, Vendor, by_effort, effort_words
from proxy.catalogue.lookup import DATE, VENDORS
from proxy.config.base import is_json
from proxy.core.model import CAPABILITIES, DialectName, Kind

ENTRIES = [
    pytest.param(vendor, entry, id=f"{vendor.name}/{entry.id}") for vendor in VENDORS for entry in vendor.entries
]
PAGES = {
    "openai": "https://developers.openai.com/api/docs/",
    "anthropic": "https://platform.claude.com/docs/",
    "gemini": "https://ai.google.dev/gemini-api/docs/",
    "mistral": "https://docs.mistral.ai/",
    "groq": "https://console.groq.com/docs/",
    "deepseek": "https://api-docs.deepseek.com/",
    "xai": "https://docs.x.ai/",
}
CEILINGS = {"max_tokens", "max_completion_tokens"}


def thawed(value: object) -> object:
    return {name: thawed(item) for name, item in value.items()} if hasattr(value, "items") else value


@pytest.mark.parametrize(("vendor", "entry"), ENTRIES)
def test_an_entry_names_a_page_of_its_vendor(vendor: Vendor, entry: Entry) -> None:
    assert entry.source.startswith(PAGES[vendor.name])


@pytest.mark.parametrize(("vendor", "entry"), ENTRIES)
def test_an_entry_has_known_words_only(vendor: Vendor, entry: Entry) -> None:
    assert entry.kind in get_args(Kind)
    assert set(entry.capabilities or ()) <= set(CAPABILITIES)
    assert len(set(entry.capabilities or ())) == len(entry.capabilities or ())
    assert all(re.fullmatch(r"[a-z_.]+(\+[a-z_]+)?", name) for name in entry.unsupported)
    assert len(set(entry.unsupported)) == len(entry.unsupported)


@pytest.mark.parametrize(("vendor", "entry"), ENTRIES)
def test_no_model_refuses_both_names_of_the_ceiling(vendor: Vendor, entry: Entry) -> None:
    assert not set(entry.unsupported) >= CEILINGS


@pytest.mark.parametrize(("vendor", "entry"), ENTRIES)
def test_limits_are_positive_and_an_answer_fits_into_the_context(vendor: Vendor, entry: Entry) -> None:
    assert entry.context_window is None or entry.context_window > 0
    assert entry.max_output is None or 0 < entry.max_output <= (entry.context_window or entry.max_output)


@pytest.mark.parametrize(("vendor", "entry"), [each for each in ENTRIES if each.values[1].price is not None])
def test_prices_are_plausible_amounts(vendor: Vendor, entry: Entry) -> None:
    price = entry.price
    assert price is not None
    given, answer = Decimal(price.input), Decimal(price.output)

    assert 0 <= given <= 200
    assert 0 <= answer <= 1000
    assert price.cached_input is None or 0 <= Decimal(price.cached_input) <= given
    assert price.cache_write is None or given <= Decimal(price.cache_write) <= 2 * given


@pytest.mark.parametrize(("vendor", "entry"), ENTRIES)
def test_thinking_is_json_has_every_effort_and_belongs_to_models_that_reason(vendor: Vendor, entry: Entry) -> None:
    assert entry.thinking == {} or tuple(entry.thinking) == EFFORTS
    assert is_json(thawed(entry.thinking))
    assert is_json(thawed(entry.thinking_off))
    if entry.thinking and entry.capabilities is not None:
        assert "reasoning" in entry.capabilities


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)
def test_ids_and_aliases_of_a_vendor_are_unique(vendor: Vendor) -> None:
    names = [name for entry in vendor.entries for name in (entry.id, *entry.aliases)]

    assert len(names) == len(set(names))
    assert vendor.dialect in get_args(DialectName)


def test_the_list_is_dated() -> None:
    assert re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", DATE)


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)
def test_each_vendor_has_a_chat_model_with_a_price(vendor: Vendor) -> None:
    assert any(entry.kind == "chat" and entry.price is not None for entry in vendor.entries)


def test_an_effort_without_a_word_has_the_next_lower_one_or_the_lowest() -> None:
    table = effort_words("low", "high")

    assert [table[effort]["reasoning_effort"] for effort in EFFORTS] == ["low", "low", "low", "high", "high", "high"]


def test_the_members_of_an_effort_are_made_from_its_word() -> None:
    table = by_effort(("medium",), lambda word: {"level": word.upper()})

    assert {members["level"] for members in table.values()} == {"MEDIUM"}
