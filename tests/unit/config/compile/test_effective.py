"""Absent values come from the catalogue, in the view and in the snapshot."""

import re
from pathlib import Path

import pytest

from proxy.config.compile.effective import FROM_CATALOGUE, effective
from proxy.config.compile.snapshot import compile_snapshot
from proxy.config.load import load
from proxy.config.settings.models import ModelSettings
from proxy.config.settings.schema import Settings
from proxy.core.model import Price
from proxy.core.snapshot import Snapshot
from tests.unit.config.files import problems

TEXT = """
mock_when_no_keys: true
providers:
  openai: {base_url: "https://api.openai.com/v1", any_model: true}
  azure: {base_url: "https://x.openai.azure.com/openai/v1"}
  anthropic: {dialect: anthropic, keys: [{value: "${A_KEY:-}"}]}
  compatible: {base_url: "https://api.anthropic.com/v1"}
  vertex: {dialect: gemini, vertex: true, base_url: "https://aiplatform.googleapis.com/v1/projects/p/publishers/google"}
models:
  - {id: openai/gpt-5-mini, price: {input: 9, output: 10}, unsupported: [seed]}
  - {id: openai/gpt-5-nano-2025-08-07, context_window: null}
  - {id: openai/text-embedding-3-small}
  - {id: openai/unheard-of}
  - {id: azure/gpt-5-mini}
  - {id: anthropic/claude-opus-4-8, tier: high}
  - {id: compatible/claude-opus-4-8}
  - {id: vertex/gemini-2.5-flash, thinking_off: null}
routing:
  aliases: {old: openai/gpt-4o, odd: openai/odd}
"""


def settings(folder: Path) -> Settings:
    path = folder / "signalbox.yaml"
    path.write_text(TEXT)
    return load(path, {}).settings


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    return compile_snapshot(settings(tmp_path))


def test_each_value_of_the_file_overrides_the_catalogue(snapshot: Snapshot) -> None:
    model = snapshot.deployments["openai/gpt-5-mini"]

    assert model.price == Price(9 * 10**9, 10 * 10**9, cached_input=9 * 10**9, cache_write=9 * 10**9)
    assert model.unsupported == {"seed"}
    assert (model.context_window, model.max_output) == (400_000, 128_000)
    assert model.capabilities is not None
    assert "reasoning" in model.capabilities


def test_null_in_the_file_overrides_the_catalogue(snapshot: Snapshot) -> None:
    nano = snapshot.deployments["openai/gpt-5-nano-2025-08-07"]

    assert (nano.context_window, nano.max_output) == (None, 128_000)
    assert snapshot.deployments["vertex/gemini-2.5-flash"].thinking_off is None


def test_an_id_with_a_date_inherits_and_is_sent_with_its_date(snapshot: Snapshot) -> None:
    nano = snapshot.deployments["openai/gpt-5-nano-2025-08-07"]

    assert nano.model == "gpt-5-nano-2025-08-07"
    assert nano.price is not None
    assert (nano.price.input, nano.price.output, nano.price.cached_input) == (50_000_000, 400_000_000, 5_000_000)
    assert {"temperature", "max_tokens"} < nano.unsupported
    assert nano.thinking["high"] == {"reasoning_effort": "high"}


def test_the_kind_is_inherited_too(snapshot: Snapshot) -> None:
    assert snapshot.deployments["openai/text-embedding-3-small"].kind == "embedding"


@pytest.mark.parametrize("name", ["openai/unheard-of", "azure/gpt-5-mini"])
def test_values_unknown_to_the_catalogue_stay_unknown(snapshot: Snapshot, name: str) -> None:
    model = snapshot.deployments[name]

    assert (model.context_window, model.capabilities, model.thinking_off, model.image_tokens) == (None,) * 4
    assert (model.unsupported, model.thinking) == (frozenset(), {})


def test_the_price_book_knows_more_providers_than_the_catalogue(snapshot: Snapshot) -> None:
    price = snapshot.deployments["azure/gpt-5-mini"].price

    assert price is not None
    assert (price.input, price.services) == (250_000_000, ())
    assert price.version.startswith("genai-prices ")
    assert snapshot.deployments["openai/unheard-of"].price is None


def test_a_price_in_the_file_is_versioned_by_its_numbers(snapshot: Snapshot) -> None:
    price = snapshot.deployments["openai/gpt-5-mini"].price

    assert price is not None
    assert re.fullmatch("configured [0-9a-f]{8}", price.version)


def test_a_model_that_the_book_lacks_has_the_price_of_its_entry(tmp_path: Path) -> None:
    found = effective(ModelSettings(id="openai/gpt-6.2-sol"), settings(tmp_path).providers["openai"])

    assert found.price == Price(2 * 10**9, 10 * 10**9, cached_input=2 * 10**9, cache_write=2 * 10**9)
    assert found.origins["price"] == found.price.version == FROM_CATALOGUE


def test_null_in_the_file_means_no_price(tmp_path: Path) -> None:
    found = effective(ModelSettings(id="openai/gpt-4o", price=None), settings(tmp_path).providers["openai"])

    assert (found.price, found.origins["price"]) == (None, "yaml")


def test_images_have_the_limit_of_the_model_or_its_vendor(snapshot: Snapshot) -> None:
    assert snapshot.deployments["openai/gpt-4o"].image_tokens == 1_445
    assert snapshot.deployments["anthropic/claude-opus-4-8"].image_tokens == 4_784


def test_a_stand_in_keeps_the_values_of_the_real_models(snapshot: Snapshot) -> None:
    model = snapshot.deployments["anthropic/claude-opus-4-8"]

    assert model.provider.stand_in
    assert (model.tier, model.context_window) == ("high", 1_000_000)
    assert model.unsupported == {"temperature", "top_p", "top_k", "messages.prefill"}


def test_thinking_is_inherited_in_the_vendors_own_dialect_only(snapshot: Snapshot) -> None:
    native, compatible = (snapshot.deployments[f"{name}/claude-opus-4-8"] for name in ("anthropic", "compatible"))

    assert native.thinking["low"]["output_config"] == {"effort": "low"}
    assert native.thinking_off == {}
    assert (compatible.thinking, compatible.thinking_off) == ({}, None)
    assert compatible.price == native.price


def test_vertex_serves_geminis_models(snapshot: Snapshot) -> None:
    model = snapshot.deployments["vertex/gemini-2.5-flash"]

    assert model.max_output == 65_536
    assert model.thinking["low"]["generationConfig"]["thinkingConfig"]["thinkingBudget"] == 1_024


def test_a_model_that_only_a_route_names_inherits(snapshot: Snapshot) -> None:
    model = snapshot.deployments["openai/gpt-4o"]

    assert (model.listed, model.context_window) == (True, 128_000)
    assert snapshot.deployments["openai/odd"].context_window is None


def test_any_model_providers_have_their_catalogue_entries(snapshot: Snapshot) -> None:
    assert set(snapshot.catalogue) == {"openai"}
    model = snapshot.catalogue["openai"]["gpt-5.6"]

    assert (model.name, model.listed) == ("openai/gpt-5.6", False)
    assert model.provider is snapshot.providers["openai"]


def test_each_value_has_its_origin(tmp_path: Path) -> None:
    provider = settings(tmp_path).providers["openai"]

    found = effective(ModelSettings(id="openai/gpt-4o", tier="low"), provider)

    assert {name: found.origins[name] for name in ("tier", "max_output", "latency")} == {
        "tier": "yaml",
        "max_output": FROM_CATALOGUE,
        "latency": "default",
    }


def test_without_a_provider_nothing_is_inherited() -> None:
    found = effective(ModelSettings(id="openai/gpt-4o"), None)

    assert found.entry is None
    assert set(found.origins.values()) == {"yaml", "default"}


LIKE = """
providers:
  egress: {base_url: "https://egress.corp.example/openai/v1", keys: [{value: x-key}]}
  claude: {dialect: anthropic, base_url: "https://egress.corp.example/anthropic", keys: [{value: x-key}]}
models:
  - {id: egress/my-deployment, like: openai/gpt-5-mini, price: {input: 9, output: 10}}
  - {id: egress/gpt-5-mini, like: gpt-5-mini}
  - {id: egress/opus, like: anthropic/claude-opus-4-8}
  - {id: claude/opus, like: anthropic/claude-opus-4-8}
  - {id: claude/dated, like: openai/gpt-5-nano-2025-08-07}
  - {id: egress/unknown}
"""


@pytest.fixture
def egress(tmp_path: Path) -> Snapshot:
    path = tmp_path / "signalbox.yaml"
    path.write_text(LIKE)
    return compile_snapshot(load(path, {}).settings)


def test_like_takes_values_of_the_named_catalogue_model(egress: Snapshot, snapshot: Snapshot) -> None:
    mine, bare, real = (
        egress.deployments["egress/my-deployment"],
        egress.deployments["egress/gpt-5-mini"],
        "openai/gpt-5-mini",
    )

    assert mine.model == "my-deployment"
    assert mine.price == snapshot.deployments[real].price
    for name in ("context_window", "max_output", "capabilities", "thinking"):
        assert getattr(mine, name) == getattr(bare, name) == getattr(snapshot.deployments[real], name)
    assert "temperature" in bare.unsupported


def test_like_takes_thinking_in_the_same_dialect_only(egress: Snapshot, snapshot: Snapshot) -> None:
    native, compatible = egress.deployments["claude/opus"], egress.deployments["egress/opus"]

    assert native.thinking == snapshot.deployments["anthropic/claude-opus-4-8"].thinking
    assert native.thinking
    assert not compatible.thinking
    assert native.price == compatible.price


def test_a_model_without_like_stays_unknown(egress: Snapshot) -> None:
    assert egress.deployments["egress/unknown"].price is None


@pytest.mark.parametrize(
    ("like", "hint"),
    [
        ("openai/gpt-4oo", "did you mean `openai/gpt-4o`?"),
        ("azure/gpt-4o", "did you mean `"),
        ("unheard-of", "must be a model of the catalogue"),
        ("''", "must be a model of the catalogue"),
    ],
)
def test_like_with_an_unknown_model_is_an_error(tmp_path: Path, like: str, hint: str) -> None:
    [problem] = problems(tmp_path, f"providers: {{p: {{dialect: mock}}}}\nmodels: [{{id: p/m, like: {like}}}]")

    assert ":2: models[0].like: must be a model of the catalogue" in problem
    assert hint in problem
