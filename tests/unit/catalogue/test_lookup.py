"""Look-up of entries by address and id."""

import pytest

from proxy.catalogue.anthropic import ANTHROPIC
from proxy.catalogue.gemini import GEMINI
from proxy.catalogue.lookup import VENDORS, entries_by_id, find, vendor_of
from proxy.catalogue.mistral import MISTRAL
from proxy.catalogue.openai import OPENAI


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://API.OpenAI.com:443/v1", "openai"),
        ("https://api.anthropic.com", "anthropic"),
        ("https://api.anthropic.com/v1", "anthropic"),
        ("https://generativelanguage.googleapis.com/v1beta/openai", "gemini"),
        ("https://api.mistral.ai/v1", "mistral"),
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://api.deepseek.com", "deepseek"),
        ("https://api.x.ai/v1", "xai"),
    ],
)
def test_a_vendor_is_found_by_its_host(url: str, name: str) -> None:
    vendor = vendor_of(url)

    assert vendor is not None
    assert vendor.name == name


@pytest.mark.parametrize(
    "url", [None, "", "http://127.0.0.1:11434/v1", "https://api.openai.com.example/v1", "https://openrouter.ai/api/v1"]
)
def test_other_hosts_have_no_vendor(url: str | None) -> None:
    assert vendor_of(url) is None


@pytest.mark.parametrize(
    ("vendor", "model", "meant"),
    [
        (OPENAI, "gpt-5-nano", "gpt-5-nano"),
        (OPENAI, "gpt-5-nano-2025-08-07", "gpt-5-nano"),
        (OPENAI, "gpt-5.6", "gpt-5.6-sol"),
        (OPENAI, "gpt-4o-2024-11-20", "gpt-4o"),
        (OPENAI, "gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        (ANTHROPIC, "claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        (MISTRAL, "mistral-small-latest", "mistral-small-2603"),
        (GEMINI, "gemini-embedding-2-preview", "gemini-embedding-2"),
    ],
)
def test_an_id_is_found_by_name_alias_or_without_its_date(vendor, model: str, meant: str) -> None:
    entry = find(vendor, model)

    assert entry is not None
    assert entry.id == meant


@pytest.mark.parametrize("model", ["", "gpt", "gpt-5-nan", "gpt-5-2025", "2025-08-07", "GPT-5", "gpt-5-nano-latest"])
def test_a_similar_id_is_not_found(model: str) -> None:
    assert find(OPENAI, model) is None


def test_entries_by_id_include_aliases() -> None:
    known = entries_by_id(OPENAI)

    assert known["gpt-5.6"] is known["gpt-5.6-sol"]


def test_no_two_vendors_share_a_host() -> None:
    hosts = [host for vendor in VENDORS for host in vendor.hosts]

    assert len(hosts) == len(set(hosts))
