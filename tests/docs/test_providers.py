"""The fidelity matrix says what the dialects do; `python -m tools.fidelity` writes it anew."""

from __future__ import annotations

import re

import pytest

from tools import fidelity
from tools.features import ENDPOINTS, GROUPS

COMMITTED = fidelity.PAGE.read_text("utf-8")
STALE = "docs/providers.md is out of date: `python -m tools.fidelity` writes it anew"


def test_the_matrix_says_what_the_dialects_do() -> None:
    counts, footer = fidelity.counts_of(COMMITTED)

    assert fidelity.page(counts, footer) == COMMITTED, STALE


def test_the_matrix_counts_the_recordings() -> None:
    found = fidelity.recordings()
    if not found or fidelity.fingerprint(found) not in COMMITTED:
        pytest.skip("no recorded traffic, or not the set that was counted")

    assert fidelity.page(fidelity.counted(found), fidelity.fingerprint(found)) == COMMITTED, STALE


def test_every_feature_is_listed_once_without_empty_cells() -> None:
    rows = re.findall(r"^\| (?!feature |word |---)(.+?) \| (.+) \|$", COMMITTED, re.M)
    names = [each.name for group in GROUPS.values() for each in group] + [each.name for each in ENDPOINTS]
    cells = [re.sub(r" \(\d+\+\d+\)", "", cell) for _, rest in rows for cell in rest.split(" | ") if " | " in rest]

    assert len(set(names)) == len(names)
    assert [name for name in names if [row for row, _ in rows].count(name) != 1] == []
    assert {word for cell in cells for word in cell.split(" / ")} == {"passed", "converted", "dropped", "refused", "-"}


def test_what_of_a_request_is_dropped_is_named() -> None:
    harmless = {("gemini", "`cache_control` on content parts")}  # Anthropic's own; Google caches without being asked

    assert fidelity.unnamed() - harmless == set()
