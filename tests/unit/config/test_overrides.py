"""Overrides of models: how they are checked, and how they are laid over the file's settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.config.compile.snapshot import compile_snapshot
from proxy.config.load import load
from proxy.config.overrides import OverrideError, check_override, model_rows, overlay
from proxy.config.settings.schema import Settings
from proxy.prices.book import price_book

FILE = """
providers: {acme: {base_url: "https://acme.test/v1"}, gone: {base_url: "https://gone.test/v1"}}
models:
- {id: acme/small, tier: low, price: {input: 1, output: 2}}
- {id: acme/large, tier: high}
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    path = tmp_path / "signalbox.yaml"
    path.write_text(FILE)
    return load(path, {}).settings


@pytest.mark.parametrize(
    ("id", "fields", "field"),
    [
        ("acme/small", {"prise": {"input": 1}}, "prise"),
        ("acme/small", {"id": "acme/other"}, "id"),
        ("acme/small", {"price": {"input": "free", "output": 1}}, "price.input"),
        ("acme/small", {"price": {"input": 1}}, "price.output"),
        ("acme/small", {"tier": "hihg"}, "tier"),
        ("acme/small", {"limits": {"rpm": 0}}, "limits.rpm"),
        ("acme/small", {"enabled": None}, "enabled"),
        ("acne/small", {"enabled": False}, "id"),
        ("small", {"enabled": False}, "id"),
        ("acme/\0", {"enabled": False}, "id"),
    ],
)
def test_an_invalid_override_names_its_field(settings: Settings, id: str, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(OverrideError) as caught:
        check_override(settings, id, fields)

    assert caught.value.field == field


def test_an_override_replaces_the_named_fields(settings: Settings) -> None:
    snapshot = compile_snapshot(overlay(settings, {"acme/small": {"price": {"input": 0.5, "output": 0.7}}}))

    small = snapshot.deployments["acme/small"]
    assert small.tier == "low"
    assert small.price is not None
    assert compile_snapshot(settings).deployments["acme/small"].price != small.price


def test_a_model_can_be_disabled_and_added(settings: Settings) -> None:
    overrides = {"acme/small": {"enabled": False}, "acme/new": {"tier": "medium"}}

    snapshot = compile_snapshot(overlay(settings, overrides))

    assert list(snapshot.deployments) == ["acme/large", "acme/new"]
    assert snapshot.version != compile_snapshot(settings).version


def test_overrides_that_do_not_fit_the_file_are_ignored(settings: Settings) -> None:
    assert overlay(settings, {"unknown/x": {}, "acme/small": {"later": 1}}) == settings
    assert overlay(settings, {}) is settings


def test_rows_show_the_file_beside_the_override(settings: Settings) -> None:
    rows = model_rows(settings, {"acme/small": {"tier": "high"}, "acme/new": {"latency": "800ms"}})

    small, large, new = rows
    assert (small["id"], small["tier"], small["origins"]["tier"], small["origins"]["price"]) == (
        "acme/small",
        "high",
        "override",
        "yaml",
    )
    assert set(small["file"]) == {"tier", "price"}
    assert small["override"] == {"tier": "high"}
    assert (large["override"], new["file"], new["override"]) == (None, None, {"latency": 0.8})


def test_rows_show_the_price_in_force_and_its_source(tmp_path: Path) -> None:
    path = tmp_path / "signalbox.yaml"
    path.write_text("""
providers: {openai: {base_url: "https://api.openai.com/v1"}}
models: [{id: openai/gpt-4o}, {id: openai/gpt-4.1}]
""")
    tier = {"above": 1000, "input": 2, "output": 4}
    override = {"openai/gpt-4.1": {"price": {"input": 1, "output": 2, "tiers": [tier]}}}

    known, changed = model_rows(load(path, {}).settings, override)

    assert (known["price"]["input"], known["price"]["cached_input"]) == (2.5, 1.25)
    assert known["origins"]["price"] == price_book().version
    assert changed["price"] == {"input": 1.0, "output": 2.0, "tiers": [{"above": 1000, "input": 2.0, "output": 4.0}]}
    assert (changed["origins"]["price"], changed["override"]["price"]) == ("override", changed["price"])
    assert json.loads(json.dumps([known, changed])) == [known, changed]
