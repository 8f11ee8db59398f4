"""The catalogue: every entry is valid, sourced and dated."""

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import get_args

from proxy.catalogue.entry import EFFORTS, Entry, by_effort, effort_words
from proxy.catalogue.lookup import DATE, VENDORS
from proxy.config.settings.base import is_json
from proxy.core.dialects import DialectName
from proxy.core.model import CAPABILITIES, Kind
from proxy.prices.book import price_book

ENTRIES = [(f"{vendor.name}/{entry.id}", vendor, entry) for vendor in VENDORS for entry in vendor.entries]
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


def offenders(is_right: Callable[[Entry], bool]) -> list[str]:
    """The names of the entries for which `is_right` is false."""
    return [name for name, _, entry in ENTRIES if not is_right(entry)]


def unique(names: Sequence[str] | None) -> bool:
    return len(set(names or ())) == len(names or ())


def test_the_catalogue_has_entries() -> None:
    assert len(ENTRIES) > 50


def test_every_entry_names_a_page_of_its_vendor() -> None:
    assert [name for name, vendor, entry in ENTRIES if not entry.source.startswith(PAGES[vendor.name])] == []


def test_kinds_are_known() -> None:
    assert offenders(lambda entry: entry.kind in get_args(Kind)) == []


def test_capabilities_are_known_and_unique() -> None:
    assert offenders(lambda entry: set(entry.capabilities or ()) <= set(CAPABILITIES)) == []
    assert offenders(lambda entry: unique(entry.capabilities)) == []


def test_unsupported_members_are_named_and_unique() -> None:
    member = re.compile(r"[a-z_.]+(\+[a-z_]+)?")

    assert offenders(lambda entry: all(member.fullmatch(name) for name in entry.unsupported)) == []
    assert offenders(lambda entry: unique(entry.unsupported)) == []


def test_every_model_accepts_a_name_of_the_token_limit() -> None:
    assert offenders(lambda entry: not set(entry.unsupported) >= CEILINGS) == []


def test_context_windows_are_positive() -> None:
    assert offenders(lambda entry: entry.context_window is None or entry.context_window > 0) == []


def test_the_longest_answer_fits_into_the_context() -> None:
    def fits(entry: Entry) -> bool:
        return entry.max_output is None or 0 < entry.max_output <= (entry.context_window or entry.max_output)

    assert offenders(fits) == []


def test_prices_are_plausible() -> None:
    def plausible(entry: Entry) -> bool:
        if (price := entry.price) is None:
            return True
        given, answer = Decimal(price.input), Decimal(price.output)
        return (
            0 <= given <= 200
            and 0 <= answer <= 1000
            and (price.cached_input is None or 0 <= Decimal(price.cached_input) <= given)
            and (price.cache_write is None or given <= Decimal(price.cache_write) <= 2 * given)
        )

    assert offenders(plausible) == []


def test_thinking_has_every_effort() -> None:
    assert offenders(lambda entry: entry.thinking == {} or tuple(entry.thinking) == EFFORTS) == []


def test_thinking_is_json() -> None:
    assert offenders(lambda entry: is_json(thawed(entry.thinking)) and is_json(thawed(entry.thinking_off))) == []


def test_models_with_thinking_can_reason() -> None:
    def consistent(entry: Entry) -> bool:
        return not entry.thinking or entry.capabilities is None or "reasoning" in entry.capabilities

    assert offenders(consistent) == []


def test_ids_and_aliases_of_a_vendor_are_unique() -> None:
    names = {
        vendor.name: [name for entry in vendor.entries for name in (entry.id, *entry.aliases)] for vendor in VENDORS
    }

    assert [vendor for vendor, its in names.items() if not unique(its)] == []


def test_dialects_of_vendors_are_known() -> None:
    assert [vendor.name for vendor in VENDORS if vendor.dialect not in get_args(DialectName)] == []


def test_the_catalogue_is_dated() -> None:
    assert re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", DATE)


def test_only_models_that_the_price_book_lacks_have_a_price() -> None:
    book = price_book()

    assert offenders(lambda entry: entry.price is None or entry.id == "gpt-6.2-sol") == []
    assert [name for name, vendor, entry in ENTRIES if entry.price and book.price_of(vendor.in_book, entry.id)] == []


def test_the_price_book_has_every_vendor_and_nearly_every_chat_model() -> None:
    book = price_book()
    unpriced = {
        name
        for name, vendor, entry in ENTRIES
        if entry.kind == "chat" and entry.price is None and book.price_of(vendor.in_book, entry.id) is None
    }

    assert [
        vendor.name for vendor in VENDORS if book.provider_at(f"https://{vendor.hosts[0]}/v1") != vendor.in_book
    ] == []
    assert unpriced == {"groq/groq/compound", "groq/groq/compound-mini"}  # billed by the models that they call


def test_images_have_a_positive_number_of_tokens() -> None:
    assert offenders(lambda entry: entry.image_tokens is None or entry.image_tokens > 0) == []


def test_an_unsupported_effort_uses_the_next_lower_one() -> None:
    table = effort_words("low", "high")

    assert [table[effort]["reasoning_effort"] for effort in EFFORTS] == ["low", "low", "low", "high", "high", "high"]


def test_the_members_of_an_effort_are_made_from_its_word() -> None:
    table = by_effort(("medium",), lambda word: {"level": word.upper()})

    assert {members["level"] for members in table.values()} == {"MEDIUM"}
