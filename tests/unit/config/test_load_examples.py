"""The shipped files load without any key and with every key."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.config.compile.snapshot import compile_snapshot
from proxy.config.load import load
from proxy.config.settings.describe import setting_names
from proxy.config.settings.redact import redacted
from proxy.config.yaml.expand import Unset

CONFIG = Path(__file__).parents[3] / "config"
DEFAULT = CONFIG / "signalbox.yaml"
FILES = [DEFAULT, *sorted((CONFIG / "examples").glob("*.yaml"))]
NAMES = ["anthropic-gemini", "azure", "everything", "local", "openai-only", "scenarios", "tiers"]


def environ_of(path: Path) -> dict[str, str]:
    """A value for every variable without a default."""
    return {name: f"sk-{name.lower()}" for name in re.findall(r"\$\{(\w+)\}", path.read_text())}


def test_there_is_an_example_for_each_use() -> None:
    assert [path.stem for path in FILES[1:]] == NAMES


def has(node: Any, path: list[str]) -> bool:
    """Whether a YAML document has a setting; `*` is any name, `[]` any item of a list."""
    if not path:
        return True
    name, rest = path[0].removesuffix("[]"), path[1:]
    found = [value for key, value in node.items() if name in (key, "*")] if isinstance(node, dict) else []
    return any(has(item, rest) for value in found for item in (value if path[0].endswith("[]") else [value]))


def test_the_example_of_everything_has_every_setting() -> None:
    document = yaml.safe_load((CONFIG / "examples" / "everything.yaml").read_text())

    assert [name for name in setting_names() if not has(document, name.split("."))] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_shipped_file_loads_without_any_key_and_warns_of_each(path: Path) -> None:
    loaded = load(path, {})
    snapshot = compile_snapshot(loaded.settings)

    unset = [
        key for provider in loaded.settings.providers.values() for key in provider.keys if isinstance(key.value, Unset)
    ]
    assert len(loaded.warnings) == len(unset)
    assert all("is not set; this key is not used" in warning for warning in loaded.warnings)
    assert {model.id for model in loaded.settings.models} <= snapshot.known


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_shipped_file_with_all_keys_has_no_dangling_names(path: Path) -> None:
    loaded = load(path, environ_of(path))
    snapshot = compile_snapshot(loaded.settings)

    assert loaded.warnings == ()
    assert snapshot.left_out == {}
    assert not any(provider.stand_in for provider in snapshot.providers.values())
    named = [entry.model for entries in snapshot.scenarios.values() for entry in entries]
    named += [name for names in snapshot.tiers.values() for name in names or ()]
    named += [
        name for name in snapshot.aliases.values() if not name.startswith(("tier/", "scenario/", "mode/", "auto"))
    ]
    assert set(named) <= set(snapshot.deployments)
    assert snapshot.deployments


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_shipped_file_shows_none_of_its_secrets(path: Path) -> None:
    loaded = load(path, environ_of(path))

    shown = json.dumps(redacted(loaded.settings)) + repr(loaded) + repr(compile_snapshot(loaded.settings))

    assert "sk-" not in shown


def test_the_default_file_works_without_a_key() -> None:
    snapshot = compile_snapshot(load(DEFAULT, {}).settings)

    assert set(snapshot.providers) == {
        "mock",
        "openai",
        "anthropic",
        "gemini",
        "mistral",
        "groq",
        "deepseek",
        "xai",
        "openrouter",
    }
    assert all(provider.stand_in for name, provider in snapshot.providers.items() if name != "mock")
    assert {"mock/small", "mock/large"} <= set(snapshot.deployments)
    for tier in ("low", "medium", "high"):
        assert any(deployment.tier == tier for deployment in snapshot.deployments.values())
    assert snapshot.deployments["mock/small"].tier is None
    assert {"support", "bulk", "code", "analysis", "reasoning"} == set(snapshot.scenarios)


def test_the_default_file_listens_where_the_environment_says() -> None:
    settings = load(DEFAULT, {}).settings
    moved = load(DEFAULT, {"SIGNALBOX_HOST": "0.0.0.0", "SIGNALBOX_PORT": "9"}).settings

    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 8080)
    assert (moved.server.host, moved.server.port) == ("0.0.0.0", 9)


def test_the_default_file_uses_real_providers_with_keys() -> None:
    snapshot = compile_snapshot(load(DEFAULT, {"GROQ_API_KEY": "gsk"}).settings)

    assert [name for name, provider in snapshot.providers.items() if not provider.stand_in] == ["mock", "groq"]
