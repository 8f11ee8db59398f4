"""Finds entries of the catalogue: the vendor that serves an address, and the entry of a model id.

An id matches the entry with that id, else the entry with that alias, else the entry of the id without a date at its end
(`-2025-08-07`, `-20251001`). A dated model that differs from its undated one has its own entry.
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

DATE = "2026-11"  # year and month of the last review of all entries
VENDORS: tuple[Vendor, ...] = (OPENAI, ANTHROPIC, GEMINI, MISTRAL, GROQ, DEEPSEEK, XAI)


def vendor_of(base_url: str | None) -> Vendor | None:
    """Return the vendor of the API at the address, by its exact host."""
    host = urlsplit(base_url or "").hostname
    return next((vendor for vendor in VENDORS if host in vendor.hosts), None)


def entries_by_id(vendor: Vendor) -> dict[str, Entry]:
    """Return the entry of each id and alias."""
    names = {alias: entry for entry in vendor.entries for alias in entry.aliases}
    return names | {entry.id: entry for entry in vendor.entries}


def find(vendor: Vendor, model: str) -> Entry | None:
    """Return the entry of a model; None if it is unknown."""
    known = entries_by_id(vendor)
    return known.get(model) or known.get(undated(model))


def named(name: str) -> tuple[Vendor, Entry] | None:
    """Return the entry of `vendor/model`, or of a model id that only one vendor has."""
    vendor_name, slash, model = name.partition("/")
    if slash and (vendor := next((vendor for vendor in VENDORS if vendor.name == vendor_name), None)) is not None:
        entry = find(vendor, model)
        return None if entry is None else (vendor, entry)
    matches = [(vendor, entry) for vendor in VENDORS if (entry := find(vendor, name)) is not None]
    return matches[0] if len(matches) == 1 else None


def names() -> list[str]:
    """Return every `vendor/model` of the catalogue."""
    return [f"{vendor.name}/{model}" for vendor in VENDORS for model in entries_by_id(vendor)]
