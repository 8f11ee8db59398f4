"""Names, descriptions and JSON Schema of the settings."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import BaseModel

from proxy.config.settings.base import Section
from proxy.config.settings.describe import json_schema, setting_names, shape_of
from proxy.config.settings.schema import Settings
from proxy.config.yaml.document import Mapping, parse
from proxy.config.yaml.read import read

ROOT = Path(__file__).parents[4]


def sections(kind: type[BaseModel] = Section) -> list[type[BaseModel]]:
    return [section for child in kind.__subclasses__() for section in (child, *sections(child))]


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.__name__)
def test_every_setting_has_a_description(section: type[BaseModel]) -> None:
    for name, info in section.model_fields.items():
        assert info.description, name
        assert info.description.endswith("."), name
        assert "\n" not in info.description, name


@pytest.mark.parametrize(
    "name",
    [
        "server.port",
        "store",
        "providers.*.timeouts.connect",
        "providers.*.keys[].value",
        "providers.*.headers",
        "models[].price.input",
        "models[].capabilities",
        "routing.aliases",
        "routing.tiers.low",
        "routing.scenarios.*[].set",
        "resilience.retry.budget.share",
        "budgets[].usd",
        "auth.jwt.issuers[].claims.user",
        "mock_when_no_keys",
    ],
)
def test_setting_names_are_dotted_paths(name: str) -> None:
    assert name in setting_names()


def test_setting_names_are_unique_and_well_formed() -> None:
    names = setting_names()

    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z0-9_]+((\[\]|\.\*)*(\.[a-z0-9_]+)?)*", name) for name in names)


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def data_of(path: Path, environ: dict[str, str]) -> dict[str, Any]:
    root = parse(path.read_text())
    assert isinstance(root, Mapping)
    return read(root, shape_of(Settings), environ).data


def test_the_json_schema_accepts_the_shipped_file(validator: jsonschema.Draft202012Validator) -> None:
    # variables included: an editor sees `${VAR}`, not its value
    class Everything(dict[str, str]):
        def get(self, key: str, default: Any = None) -> str:
            return "${" + key + "}"

        def __contains__(self, key: object) -> bool:
            return True

    for path in (ROOT / "config/signalbox.yaml", ROOT / "config/examples/scenarios.yaml"):
        data = data_of(path, Everything())
        validator.validate(data)


@pytest.mark.parametrize(
    "data",
    [
        {"sever": {}},
        {"server": {"port": "x"}},
        {"server": {"drain": "soon"}},
        {"models": [{"tier": "low"}]},
        {"models": [{"id": "a/b", "tier": "lo"}]},
        {"routing": {"scenarios": {"s": [3]}}},
    ],
)
def test_the_json_schema_rejects_invalid_files(
    validator: jsonschema.Draft202012Validator, data: dict[str, Any]
) -> None:
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(data)


def test_every_property_of_the_json_schema_is_described() -> None:
    schema = json_schema()

    for definition in (schema, *schema["$defs"].values()):
        for name, inner in definition.get("properties", {}).items():
            referred = schema["$defs"].get(inner.get("$ref", "").rpartition("/")[2], {})
            assert inner.get("description") or referred.get("description"), name
