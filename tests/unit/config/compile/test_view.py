"""The view of effective values and their origins."""

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.catalogue.lookup import DATE
from proxy.config.compile.view import models_text, models_view
from proxy.config.load import load

TEXT = """
providers:
  openai: {base_url: "https://api.openai.com/v1", any_model: true, keys: [{value: x}]}
  anthropic: {dialect: anthropic, keys: [{value: x}]}
models:
  - {id: openai/gpt-5-nano, tier: low, price: {input: 1, output: 2}, latency: 800ms, enabled: false}
  - {id: openai/mine}
  - {id: anthropic/claude-haiku-4-5}
routing: {aliases: {old: openai/gpt-4.1}}
"""


@pytest.fixture
def view(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "signalbox.yaml"
    path.write_text(TEXT)
    return models_view(load(path, {}).settings)


def fields(view: dict[str, Any], name: str) -> dict[str, Any]:
    [model] = [model for model in view["models"] if model["id"] == name]
    return dict(model["fields"])


def test_listed_models_come_before_those_named_by_routes(view: dict[str, Any]) -> None:
    names = [model["id"] for model in view["models"]]

    assert names == ["openai/gpt-5-nano", "openai/mine", "anthropic/claude-haiku-4-5", "openai/gpt-4.1"]
    assert view["catalogue"] == DATE


def test_each_field_has_its_value_and_where_it_comes_from(view: dict[str, Any]) -> None:
    nano = fields(view, "openai/gpt-5-nano")

    assert nano["price"] == {"value": {"input": 1.0, "output": 2.0}, "from": "yaml"}
    assert nano["latency"] == {"value": 0.8, "from": "yaml"}
    assert nano["context_window"] == {"value": 400_000, "from": f"catalogue {DATE}"}
    assert nano["quality"] == {"value": None, "from": "default"}


def test_a_known_model_has_its_source(view: dict[str, Any]) -> None:
    sources = [model["source"] for model in view["models"]]

    assert sources[0] == "https://developers.openai.com/api/docs/models/gpt-5-nano"
    assert sources[1] is None


def test_the_view_is_json(view: dict[str, Any]) -> None:
    assert json.loads(json.dumps(view)) == view


def test_the_text_has_a_block_a_model_without_unset_defaults(view: dict[str, Any]) -> None:
    blocks = models_text(view).split("\n\n")

    assert [block.splitlines()[0] for block in blocks] == [model["id"] for model in view["models"]]
    nano = [line.split() for line in blocks[0].splitlines()]
    assert ["tier", "low", "yaml"] in nano
    assert ["max_output", "128000", "catalogue", DATE] in nano
    assert ["enabled", "false", "yaml"] in nano
    assert not any(line[0] in ("quality", "specialties", "limits") for line in nano)


def test_the_text_shows_efforts_and_how_thinking_is_disabled(view: dict[str, Any]) -> None:
    haiku = models_text(view).split("\n\n")[2]

    assert "by effort: minimal, low, medium, high, xhigh, max" in haiku
    assert any(line.split()[:2] == ["thinking_off", "nothing"] for line in haiku.splitlines())
