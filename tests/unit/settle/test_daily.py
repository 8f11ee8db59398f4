"""The daily sums and their file."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from proxy.settle.daily import MOST_NAMES, DaySums, add_to_file, read_sums

DATE = "2026-11-28"


def sums(success: bool = True, seconds: float = 1.0, **names: str) -> DaySums:
    """The sums of one call."""
    found = DaySums()
    found.add(success=success, seconds=seconds, cost_nusd=1_000_000_000, cache_hit=not success, names=names)
    return found


def test_a_file_has_the_sums_of_all_writes(tmp_path: Path) -> None:
    add_to_file(tmp_path, DATE, sums(route="tier/low", tier="low", provider="acme", model="acme/small"))
    add_to_file(tmp_path, DATE, sums(seconds=3.0, route="tier/low", tier="low", provider="acme", model="acme/big"))
    add_to_file(tmp_path, DATE, sums(success=False, seconds=99.0, route="other", error="server_error"))

    content = json.loads((tmp_path / f"daily-{DATE}.json").read_bytes())

    del content["sums"]
    assert content == {
        "date": DATE,
        "total": 3,
        "successful": 2,
        "by_route": {"tier/low": 2, "other": 1},
        "by_tier": {"low": 2},
        "by_provider": {"acme": 2},
        "by_model": {"acme/small": 1, "acme/big": 1},
        "errors": {"server_error": 1},
        "cost_usd": 3.0,
        "mean_latency_ms": 2000.0,
        "cache_hits": 1,
    }


def test_only_the_owner_may_read_the_file(tmp_path: Path) -> None:
    add_to_file(tmp_path, DATE, sums())

    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_without_success_there_is_no_latency() -> None:
    assert sums(success=False).as_json(DATE)["mean_latency_ms"] is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"total": 5}', b'{"total": "x"}'])
def test_a_damaged_file_is_begun_anew(content: bytes) -> None:
    assert read_sums(content) == DaySums()


def test_names_beyond_the_limit_count_as_other() -> None:
    found = DaySums()
    for number in range(MOST_NAMES + 5):
        found.merge(sums(route=f"r{number}"))

    assert len(found.groups["route"]) == MOST_NAMES + 1
    assert found.groups["route"]["other"] == 5


def test_old_days_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.settle.daily.MOST_FILES", 2)
    for day in (1, 2, 3):
        add_to_file(tmp_path, f"2026-11-0{day}", sums())

    assert sorted(path.name for path in tmp_path.glob("daily-*")) == ["daily-2026-11-02.json", "daily-2026-11-03.json"]
