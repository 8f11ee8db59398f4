"""The command that prints what holds for each model."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.cli import main
from proxy.core.clock import SystemClock
from proxy.core.location import locate
from proxy.store.database import Database
from proxy.store.models import ModelStore

TEXT = """
providers: {xai: {base_url: "https://api.x.ai/v1", keys: [{value: secret-key}]}}
models: [{id: xai/grok-4.3, tier: medium}]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "signalbox.yaml"
    path.write_text(TEXT)
    return path


def test_models_prints_a_block_a_model(file: Path) -> None:
    result = CliRunner().invoke(main, ["models", "--config", str(file)])

    assert result.exit_code == 0
    assert result.output.startswith("xai/grok-4.3\n")
    assert "secret-key" not in result.output


def test_models_prints_json_when_asked(file: Path) -> None:
    result = CliRunner().invoke(main, ["models", "-c", str(file), "--json"])

    [model] = json.loads(result.output)["models"]
    assert model["fields"]["tier"] == {"value": "medium", "from": "yaml"}


def test_models_refuses_a_file_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "signalbox.yaml"
    path.write_text("models: {}")

    assert CliRunner().invoke(main, ["models", "-c", str(path)]).exit_code == 2


def test_models_shows_what_the_admin_api_has_overridden(tmp_path: Path, file: Path) -> None:
    location = locate("sqlite", str(tmp_path))
    assert location is not None

    async def override() -> None:
        database = Database(location, SystemClock())
        async with database.running():
            await ModelStore(database, SystemClock()).put("xai/grok-4.3", {"tier": "low"}, "admin")

    asyncio.run(override())
    file.write_text(f"{TEXT}data_dir: {tmp_path}\n")

    result = CliRunner().invoke(main, ["models", "-c", str(file), "--json"])

    [model] = json.loads(result.output)["models"]
    assert model["fields"]["tier"] == {"value": "low", "from": "override"}


def test_models_works_without_the_store(tmp_path: Path, file: Path) -> None:
    file.write_text(f"{TEXT}store: sqlite:///{tmp_path}\n")  # a folder

    result = CliRunner().invoke(main, ["models", "-c", str(file)])

    assert result.exit_code == 0
    assert "overrides of models are not shown" in result.stderr
    assert "medium" in result.stdout
