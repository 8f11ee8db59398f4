"""Finding an entry: which vendor serves an address, and which of its models an id means.

An id means the entry of that id, or the one that has it as an alias, or, without a date at its end (`-2025-08-07`,
`-20251001`), the one that is left. A snapshot that differs from its model has an entry of its own.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from proxy.catalogue.anthropic import ANTHROPIC
from proxy.catalogue.deepseek import DEEPSEEK
from proxy.catalogue.entry import Entry, Vendor
from proxy.catalogue.gemini import GEMINI
from proxy.catalogue.groq import GROQ
from proxy.catalogue.mistral import MISTRAL
from proxy.catalogue.openai import OPENAI
from proxy.catalogue.xai import XAI
from proxy.core.model_ids import undated

DATE = "2026-11"  # of the whole list: year and month in which it was last gone through
VENDORS: tuple[Vendor, ...] = (OPENAI, ANTHROPIC, GEMINI, MISTRAL, GROQ, DEEPSEEK, XAI)


def vendor_of(base_url: str | None) -> Vendor | None:
    """The vendor whose API is served at the address, by its exact host."""
    host = urlsplit(base_url or "").hostname
    return next((vendor for vendor in VENDORS if host in vendor.hosts), None)


def entries_by_id(vendor: Vendor) -> dict[str, Entry]:
    """Every id that stands for an entry, aliases included."""
    names = {alias: entry for entry in vendor.entries for alias in entry.aliases}
    return names | {entry.id: entry for entry in vendor.entries}


def find(vendor: Vendor, model: str) -> Entry | None:
    """The entry of a model, if there is one."""
    known = entries_by_id(vendor)
    return known.get(model) or known.get(undated(model))


def named(name: str) -> tuple[Vendor, Entry] | None:
    """The entry that `vendor/model` names, or a model's id alone that one vendor has."""
    vendor_name, slash, model = name.partition("/")
    if slash and (vendor := next((each for each in VENDORS if each.name == vendor_name), None)) is not None:
        entry = find(vendor, model)
        return None if entry is None else (vendor, entry)
    found = [(vendor, entry) for vendor in VENDORS if (entry := find(vendor, name)) is not None]
    return found[0] if len(found) == 1 else None


def names() -> list[str]:
    """Every `vendor/model` of the catalogue."""
    return [f"{vendor.name}/{model}" for vendor in VENDORS for model in entries_by_id(vendor)]
