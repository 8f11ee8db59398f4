"""Compilation of settings to the snapshot."""

from pathlib import Path

import pytest

from proxy.config.compile.snapshot import compile_snapshot
from proxy.config.load import load
from proxy.config.settings.schema import Settings
from proxy.core.model import MockOptions, Price, Timeouts
from proxy.core.policies import BreakerPolicy, CostTarget, DeadlinePolicy, LlmClassifierPolicy, RetryPolicy
from proxy.core.snapshot import Snapshot

TEXT = """
providers:
  openai:
    base_url: https://api.openai.com/v1/
    keys:
      - {id: main, value: "${OPENAI_API_KEY}", weight: 3}
      - {id: spare, value: "${OPENAI_API_KEY_2}"}
    headers: {x-team: red}
    proxy: http://proxy:3128
    timeouts: {connect: 1s, total: 1m}
    stream_usage: never
  groq:
    base_url: https://api.groq.com/openai/v1
    keys: [{value: "${GROQ_API_KEY}"}]
  local: {base_url: "http://127.0.0.1:11434/v1", any_model: true}
  mock: {dialect: mock, seed: 7, latency: 10ms, failure_rate: 0.5, faults: [cut, slow], tokens: 12}
models:
  - id: openai/gpt-4o
    tier: medium
    price: {input: 2.50, output: 10}
    context_window: 128000
    max_output: 16384
    latency: 800ms
    capabilities: [tools, vision]
    specialties: [writing]
    quality: 0.8
    timeouts: {first_token: 7s}
  - {id: openai/gpt-4o-mini, price: {input: 0.15, cached_input: 0.075, cache_write: 0.2, output: 0.60}}
  - {id: openai/old, enabled: false}
  - {id: groq/openai/gpt-oss, tier: low}
  - {id: mock/small, kind: embedding}
routing:
  default: main
  mode: accurate
  aliases: {main: second, second: openai/gpt-4o, cheap: tier/low, home: local/llama}
  tiers: {high: [main, groq/openai/gpt-oss]}
  scenarios:
    s:
      - {model: groq/openai/gpt-oss, priority: 5}
      - {model: main, set: {temperature: 0.2}}
      - openai/gpt-4o-mini
      - {model: "local/qwen:7b", priority: -1}
  weights: {cost: 2}
resilience:
  breaker: {consecutive: 7, open: 10s}
  retry: {attempts: 9, backoff: 1s}
  deadline: {soft: 1s}
"""
KEYS = {"OPENAI_API_KEY": "sk-one", "OPENAI_API_KEY_2": "sk-two", "GROQ_API_KEY": "gsk"}


def compiled(folder: Path, text: str = TEXT, environ: dict[str, str] | None = None) -> Snapshot:
    path = folder / "signalbox.yaml"
    path.write_text(text)
    return compile_snapshot(load(path, KEYS if environ is None else environ).settings)


def test_a_provider_has_the_values_of_the_file(tmp_path: Path) -> None:
    openai = compiled(tmp_path).providers["openai"]

    assert (openai.name, openai.dialect, openai.base_url) == ("openai", "openai", "https://api.openai.com/v1")
    assert [(key.id, key.value, key.weight) for key in openai.keys] == [("main", "sk-one", 3), ("spare", "sk-two", 1)]
    assert dict(openai.headers) == {"x-team": "red"}
    assert (openai.proxy, openai.stream_usage, openai.auth_header) == ("http://proxy:3128", "never", "authorization")
    assert openai.timeouts == Timeouts(connect=1.0, total=60.0)
    assert (openai.mock, openai.stand_in, openai.any_model) == (None, False, False)


def test_a_mock_has_its_options(tmp_path: Path) -> None:
    mock = compiled(tmp_path).providers["mock"]

    assert (mock.dialect, mock.stand_in) == ("mock", False)
    assert mock.mock == MockOptions(seed=7, latency=0.01, tokens=12, failure_rate=0.5, faults=("cut", "slow"))


def test_a_model_becomes_a_deployment(tmp_path: Path) -> None:
    snapshot = compiled(tmp_path)
    model = snapshot.deployments["openai/gpt-4o"]

    assert model.name == "openai/gpt-4o"
    assert model.provider is snapshot.providers["openai"]
    assert (model.model, model.kind, model.tier) == ("gpt-4o", "chat", "medium")
    assert (model.context_window, model.max_output, model.latency, model.quality) == (128000, 16384, 0.8, 0.8)
    assert (model.capabilities, model.specialties) == ({"tools", "vision"}, {"writing"})
    assert model.timeouts == Timeouts(connect=1.0, first_token=7.0, idle=60.0, total=60.0)
    assert snapshot.deployments["groq/openai/gpt-oss"].model == "openai/gpt-oss"
    assert snapshot.deployments["mock/small"].kind == "embedding"


def test_absent_values_are_unknown(tmp_path: Path) -> None:
    model = compiled(tmp_path).deployments["mock/small"]

    assert (model.price, model.capabilities, model.context_window, model.quality, model.tier) == (None,) * 5
    assert model.specialties == frozenset()
    assert model.listed


def test_prices_are_nano_dollars_and_default_to_the_input_price(tmp_path: Path) -> None:
    deployments = compiled(tmp_path).deployments

    assert deployments["openai/gpt-4o"].price == Price(
        input=2_500_000_000, output=10_000_000_000, cached_input=2_500_000_000, cache_write=2_500_000_000
    )
    assert deployments["openai/gpt-4o-mini"].price == Price(
        input=150_000_000, output=600_000_000, cached_input=75_000_000, cache_write=200_000_000
    )


def test_enabled_deployments_keep_the_order_of_the_file(tmp_path: Path) -> None:
    snapshot = compiled(tmp_path)

    written = ["openai/gpt-4o", "openai/gpt-4o-mini", "groq/openai/gpt-oss", "mock/small"]
    assert list(snapshot.deployments)[: len(written)] == written
    assert "openai/old" in snapshot.known


def test_a_model_that_only_a_route_names_is_a_deployment_too(tmp_path: Path) -> None:
    snapshot = compiled(tmp_path)

    assert list(snapshot.deployments)[-2:] == ["local/llama", "local/qwen:7b"]
    assert all(deployment.listed for deployment in snapshot.deployments.values())  # the operator has named them
    assert {"local/llama", "local/qwen:7b"} < snapshot.known


def test_aliases_are_resolved_to_the_end(tmp_path: Path) -> None:
    snapshot = compiled(tmp_path)

    assert snapshot.aliases == {
        "main": "openai/gpt-4o",
        "second": "openai/gpt-4o",
        "cheap": "tier/low",
        "home": "local/llama",
    }
    assert snapshot.default_route == "main"


def test_scenarios_are_sorted_stably_by_priority(tmp_path: Path) -> None:
    entries = compiled(tmp_path).scenarios["s"]

    assert [entry.model for entry in entries] == [
        "local/qwen:7b",
        "openai/gpt-4o",
        "openai/gpt-4o-mini",
        "groq/openai/gpt-oss",
    ]
    assert dict(entries[1].overrides) == {"temperature": 0.2}
    assert dict(entries[2].overrides) == {}


def test_explicit_tiers_name_deployments_and_others_are_derived(tmp_path: Path) -> None:
    tiers = compiled(tmp_path).tiers

    assert tiers == {"low": None, "medium": None, "high": ("openai/gpt-4o", "groq/openai/gpt-oss")}


def test_policies_have_the_values_of_the_file(tmp_path: Path) -> None:
    snapshot = compiled(tmp_path)

    assert snapshot.breaker == BreakerPolicy(consecutive=7, open=10.0)
    assert snapshot.retry == RetryPolicy(attempts=9, backoff=1.0)
    assert snapshot.deadline == DeadlinePolicy(soft=1.0)
    assert (snapshot.mode, dict(snapshot.weights)) == ("accurate", {"cost": 2.0})


def test_a_model_that_classifies_prompts_is_usable_though_not_listed(tmp_path: Path) -> None:
    classifier = "  classifier: {kind: llm, model: local/judge, deadline: 300ms, budget: 0.5}\nresilience:"
    snapshot = compiled(tmp_path, TEXT.replace("resilience:", classifier))

    assert snapshot.llm_classifier == LlmClassifierPolicy("local/judge", 0.3, 500_000_000)
    assert snapshot.classifier == "model"
    assert "local/judge" in snapshot.deployments


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("cost: 30%", CostTarget(0.3)),
        ("cost: 0.3", CostTarget(0.3)),
        ("cost: {share: 0.3, of: spend}", CostTarget(0.3, "spend")),
        ("mode: fast", None),
    ],
)
def test_a_target_of_cost_is_a_share_of_calls_or_of_spend(tmp_path: Path, text: str, target: CostTarget | None) -> None:
    assert compiled(tmp_path, f"routing: {{{text}}}").cost == target


def test_quality_and_nudges_are_those_of_the_file(tmp_path: Path) -> None:
    text = "providers: {p: {dialect: mock}}\nrouting: {quality: 0.7, nudges: {code: {p: 0.2}}}"
    snapshot = compiled(tmp_path, text)

    assert (snapshot.quality, snapshot.nudges) == (0.7, {"code": {"p": 0.2}})


def test_file_defaults_equal_policy_defaults() -> None:
    snapshot = compile_snapshot(Settings())

    assert snapshot.breaker == BreakerPolicy()
    assert snapshot.retry == RetryPolicy()
    assert snapshot.deadline == DeadlinePolicy()
    assert (snapshot.default_route, snapshot.mode, snapshot.deployments) == (None, "balanced", {})


def test_a_provider_without_keys_is_left_out_but_known(tmp_path: Path) -> None:
    snapshot = compiled(tmp_path, environ={})

    assert snapshot.left_out == {
        "openai": "no key is set (OPENAI_API_KEY, OPENAI_API_KEY_2)",
        "groq": "no key is set (GROQ_API_KEY)",
    }
    assert set(snapshot.providers) == {"local", "mock"}
    assert "openai/gpt-4o" not in snapshot.deployments
    assert "openai/gpt-4o" in snapshot.known
    assert snapshot.scenarios["s"][1].model == "openai/gpt-4o"
    assert snapshot.aliases["main"] == "openai/gpt-4o"


def test_a_provider_with_one_of_two_keys_has_that_one(tmp_path: Path) -> None:
    openai = compiled(tmp_path, environ={"OPENAI_API_KEY_2": "sk-two"}).providers["openai"]

    assert [key.id for key in openai.keys] == ["spare"]


def test_a_provider_without_a_list_of_keys_is_keyless(tmp_path: Path) -> None:
    assert compiled(tmp_path).providers["local"].keys == ()


def test_a_stand_in_has_no_address_keys_or_headers(tmp_path: Path) -> None:
    snapshot = compiled(tmp_path, f"mock_when_no_keys: true\n{TEXT}", environ={})
    openai = snapshot.providers["openai"]

    assert snapshot.left_out == {}
    assert (openai.dialect, openai.stand_in, openai.mock) == ("mock", True, MockOptions())
    assert (openai.base_url, openai.keys, dict(openai.headers), openai.proxy) == ("", (), {}, None)
    assert snapshot.deployments["openai/gpt-4o"].provider is openai
    assert snapshot.deployments["openai/gpt-4o"].tier == "medium"
    assert not snapshot.providers["local"].stand_in
    assert not snapshot.providers["mock"].stand_in


def test_a_literally_empty_key_is_no_key(tmp_path: Path) -> None:
    snapshot = compiled(tmp_path, "providers: {p: {base_url: http://x, keys: [{value: ''}]}}")

    assert snapshot.left_out == {"p": "no key is set"}


def test_the_version_is_stable_and_ignores_secrets(tmp_path: Path) -> None:
    first = compiled(tmp_path).version

    assert first == compiled(tmp_path).version
    assert first == compiled(tmp_path, environ={**KEYS, "OPENAI_API_KEY": "another"}).version
    assert first != compiled(tmp_path, TEXT.replace("temperature: 0.2", "temperature: 0.3")).version
    assert len(first) == 12
    assert int(first, 16) >= 0


def test_compiling_a_loop_of_aliases_fails() -> None:
    settings = Settings.model_validate({"routing": {"aliases": {"a": "b", "b": "a"}}})

    with pytest.raises(ValueError, match="is a loop"):
        compile_snapshot(settings)


def test_no_secret_is_in_the_repr_of_a_snapshot(tmp_path: Path) -> None:
    text = repr(compiled(tmp_path))

    assert "sk-one" not in text
    assert "proxy:3128" not in text


DIALECTS = """
providers:
  anthropic: {dialect: anthropic, prompt_cache: auto, api_version: "2023-06-01"}
  gemini: {dialect: gemini}
  vertex: {dialect: gemini, vertex: true, base_url: "https://aiplatform.googleapis.com/v1/publishers/google/"}
  proxied: {dialect: anthropic, base_url: "https://proxy.example", auth_header: authorization}
  openai: {base_url: "https://x"}
models:
  - id: openai/own
    unsupported: [seed, top_p]
    thinking: {low: {enable_thinking: true}}
    thinking_off: {enable_thinking: false}
"""


@pytest.mark.parametrize(
    ("name", "dialect", "address", "header"),
    [
        ("anthropic", "anthropic", "https://api.anthropic.com", "x-api-key"),
        ("gemini", "gemini", "https://generativelanguage.googleapis.com", "x-goog-api-key"),
        ("vertex", "gemini", "https://aiplatform.googleapis.com/v1/publishers/google", "authorization"),
        ("proxied", "anthropic", "https://proxy.example", "authorization"),
        ("openai", "openai", "https://x", "authorization"),
    ],
)
def test_a_dialect_has_its_default_address_and_key_header(
    tmp_path: Path, name: str, dialect: str, address: str, header: str
) -> None:
    provider = compiled(tmp_path, DIALECTS).providers[name]

    assert (provider.dialect, provider.base_url, provider.auth_header) == (dialect, address, header)


def test_the_settings_of_one_dialect_reach_its_provider(tmp_path: Path) -> None:
    providers = compiled(tmp_path, DIALECTS).providers

    assert (providers["anthropic"].prompt_cache, providers["anthropic"].api_version) == ("auto", "2023-06-01")
    assert (providers["gemini"].prompt_cache, providers["gemini"].vertex) == ("off", False)
    assert providers["vertex"].vertex


def test_unsupported_and_thinking_have_the_values_of_the_file(tmp_path: Path) -> None:
    model = compiled(tmp_path, DIALECTS).deployments["openai/own"]

    assert model.unsupported == {"seed", "top_p"}
    assert model.thinking == {"low": {"enable_thinking": True}}
    assert model.thinking_off == {"enable_thinking": False}
