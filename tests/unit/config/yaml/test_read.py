"""Short forms and other notations of values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from proxy.config.compile.snapshot import compile_snapshot
from proxy.config.settings.describe import json_schema
from proxy.config.yaml.expand import Unset
from tests.unit.config.files import loaded, problems

BASE = "providers: {p: {base_url: 'http://127.0.0.1:1/v1', %s}}\nmodels: [{id: p/m, tier: low, %s}]\n"


def model(folder: Path, settings: str, environ: dict[str, str] | None = None) -> Any:
    return loaded(folder, BASE % ("timeouts: {}", settings), environ).settings.models[0]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("128k", 128_000),
        ("128K", 128_000),
        ("1M", 1_000_000),
        ("1m", 1_000_000),
        ("1.5k", 1_500),
        ("128Ki", 131_072),
        ("2 M", 2_000_000),
        ("1_000_000", 1_000_000),
        ("'1_000_000'", 1_000_000),
        ("'128000'", 128_000),
        ("1e6", 1_000_000),
        ("'${WINDOW}'", 64_000),
        ("'${WINDOW:-8k}'", 64_000),
    ],
)
def test_a_number_may_have_a_suffix(tmp_path: Path, written: str, expected: int) -> None:
    found = model(tmp_path, f"context_window: {written}, limits: {{tpm: {written}}}", {"WINDOW": "64k"})

    assert (found.context_window, found.limits.tpm) == (expected, expected)


@pytest.mark.parametrize("written", ["128q", "k", "1,000", "1.0005k", "1 2", "-1k", "0k", "true", "__1", "1__0k"])
def test_invalid_numbers_are_rejected(tmp_path: Path, written: str) -> None:
    [problem] = problems(tmp_path, BASE % ("timeouts: {}", f"context_window: '{written}'"))

    assert "models[0].context_window: must be " in problem


@pytest.mark.parametrize(("written", "expected"), [("20%", 0.2), ("2.5 %", 0.025), ("0.2", 0.2), ("'0.2'", 0.2)])
def test_a_share_may_be_a_percentage(tmp_path: Path, written: str, expected: float) -> None:
    found = loaded(tmp_path, f"resilience: {{retry: {{budget: {{share: {written}}}}}}}").settings

    assert found.resilience.retry.budget.share == pytest.approx(expected)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ('["${K}"]', [("main", "key-one")]),
        ('["${K}", "${L}"]', [("main", "key-one"), ("key2", "key-two")]),
        ('"${K}"', [("main", "key-one")]),
        ("'${K}'", [("main", "key-one")]),
        ("{value: '${K}'}", [("main", "key-one")]),
        ("{id: a, value: '${K}'}", [("a", "key-one")]),
        ("[{value: '${K}'}, {value: '${L}'}]", [("main", "key-one"), ("key2", "key-two")]),
        ("['${K}', {id: b, value: '${L}'}]", [("main", "key-one"), ("b", "key-two")]),
        ("['${UNSET}', '${L}']", [("main", None), ("key2", "key-two")]),
        ("'${UNSET}'", [("main", None)]),
        ("'${LIST}'", [("a", "key-one")]),
        ("[12345678]", [("main", "12345678")]),
    ],
)
def test_keys_may_be_texts(tmp_path: Path, keys: str, expected: list[tuple[str, str | None]]) -> None:
    environ = {"K": "key-one", "L": "key-two", "LIST": "[{id: a, value: key-one}]"}

    found = loaded(tmp_path, BASE % (f"keys: {keys}", ""), environ)

    read = found.settings.providers["p"].keys
    assert [(k.id, None if isinstance(k.value, Unset) else k.value.get_secret_value()) for k in read] == expected
    assert "key-one" not in repr(found)


def test_an_unset_key_that_is_a_text_is_a_warning(tmp_path: Path) -> None:
    found = loaded(tmp_path, BASE % ("keys: ['${UNSET}']", ""))

    [warning] = found.warnings
    assert warning.endswith(":1: providers.p.keys[0]: UNSET is not set; this key is not used")
    assert compile_snapshot(found.settings).left_out == {"p": "no key is set (UNSET)"}


@pytest.mark.parametrize("field", ["capabilities", "specialties", "unsupported"])
@pytest.mark.parametrize("written", ["tools", "[tools]", "'tools'", "'${WORD}'", "'${WORDS}'"])
def test_a_text_is_a_list_of_one(tmp_path: Path, field: str, written: str) -> None:
    found = model(tmp_path, f"{field}: {written}", {"WORD": "tools", "WORDS": "[tools]"})

    assert getattr(found, field) == ("tools",)


@pytest.mark.parametrize("written", ["tools, vision", "tools,vision,", "${WORDS}", "${ONE}, vision"])
def test_a_text_with_commas_is_a_list(tmp_path: Path, written: str) -> None:
    found = model(tmp_path, f"capabilities: '{written}'", {"WORDS": "tools, vision", "ONE": "tools"})

    assert found.capabilities == ("tools", "vision")


def test_a_key_with_a_comma_is_one_key(tmp_path: Path) -> None:
    found = loaded(tmp_path, BASE % ("keys: 'a,b'", "")).settings.providers["p"].keys

    assert len(found) == 1


@pytest.mark.parametrize("empty", ["", "null", "[]"])
def test_an_empty_list_stays_empty(tmp_path: Path, empty: str) -> None:
    assert model(tmp_path, f"specialties: {empty}").specialties == ()


def test_one_model_is_a_list_of_models(tmp_path: Path) -> None:
    text = "providers: {p: {base_url: 'http://127.0.0.1:1/v1'}}\nmodels: {id: p/m}\nrouting: {tiers: {low: p/m}}"

    settings = loaded(tmp_path, text).settings

    assert [each.id for each in settings.models] == ["p/m"]
    assert settings.routing.tiers.low == ("p/m",)


def test_a_mapping_in_place_of_a_list_is_rejected(tmp_path: Path) -> None:
    text = "providers: {p: {base_url: 'http://127.0.0.1:1/v1'}}\nmodels: {p/m: {tier: low}}"

    assert problems(tmp_path, text) == ["signalbox.yaml:2: models: must be a list"]


@pytest.mark.parametrize(
    "entry", ["p/m", "[p/m]", "{model: p/m}", "[tier/low]", "tier/low", "[{model: tier/low}]", "[a]"]
)
def test_a_scenario_may_be_one_entry_or_hold_a_tier(tmp_path: Path, entry: str) -> None:
    routing = f"routing: {{aliases: {{a: tier/low}}, scenarios: {{s: {entry}}}}}"

    found = compile_snapshot(loaded(tmp_path, BASE % ("timeouts: {}", "") + routing).settings)

    assert [each.model for each in found.scenarios["s"]] == ["tier/low" if entry == "[a]" or "tier" in entry else "p/m"]


@pytest.mark.parametrize(
    "text",
    [
        "server: {max_body: 20M, drain: 1m30s, max_in_flight: 10k}",
        "providers: {p: {base_url: 'http://x/v1', keys: ['${K}']}}",
        "providers: {p: {base_url: 'http://x/v1', keys: '${K}'}}",
        "models: [{id: p/m, context_window: 128k, capabilities: tools}]",
        "models: {id: p/m}",
        "resilience: {retry: {budget: {share: 20%}}}",
        "routing: {scenarios: {s: tier/low}, tiers: {low: p/m}}",
    ],
)
def test_the_json_schema_accepts_short_forms(text: str) -> None:
    jsonschema.validate(yaml.safe_load(text), json_schema())


@pytest.mark.parametrize(("written", "expected"), [("0.7", 0.7), ("3", 3), ("70%", 0.7)])
def test_a_weight_may_be_a_fraction(tmp_path: Path, written: str, expected: float) -> None:
    found = loaded(tmp_path, BASE % (f"keys: [{{value: x-key, weight: {written}}}]", "")).settings

    assert found.providers["p"].keys[0].weight == pytest.approx(expected)
