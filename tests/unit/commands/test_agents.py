"""`signalbox agents`, on a SQLite file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from proxy.cli import main

DEFINITION = "model: mock/small\ninstructions: Be {{tone}}.\nvariables: {tone: brief}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "signalbox.yaml").write_text(
        f"data_dir: {tmp_path}\nproviders: {{mock: {{dialect: mock}}}}\n"
        "models: [{id: mock/small}]\nagents: {fixed: {model: mock/small}}\n"
    )
    (tmp_path / "agent.yaml").write_text(DEFINITION)
    return tmp_path


def run(folder: Path, *words: str, input: str | None = None) -> Result:
    return CliRunner().invoke(main, ["agents", *words, "-c", str(folder / "signalbox.yaml")], input=input)


def done(folder: Path, *words: str, input: str | None = None) -> str:
    result = run(folder, *words, input=input)
    assert result.exit_code == 0, result.output
    return result.output


def shown(folder: Path, *words: str) -> Any:
    return json.loads(done(folder, *words, "--json"))


def test_agents_of_the_file_and_of_the_store_are_listed(folder: Path) -> None:
    done(folder, "create", "support", str(folder / "agent.yaml"))

    rows = shown(folder, "list")["data"]

    assert [(row["id"], row["source"], row["labels"].get("production")) for row in rows] == [
        ("fixed", "file", rows[0]["version"]),
        ("support", "store", "1"),
    ]
    assert [line.split()[0] for line in done(folder, "list").splitlines()] == ["id", "fixed", "support"]


def test_version_is_added_and_labelled(folder: Path) -> None:
    done(folder, "create", "support", str(folder / "agent.yaml"))
    number = done(folder, "add", "support", "-", "--label", "staging", input='{"model": "mock/small"}')
    before = shown(folder, "show", "support")
    moved = done(folder, "label", "support", "production", "latest")

    assert number == "2\n"
    assert (before["version"], before["labels"]) == ("1", {"production": "1", "staging": "2"})
    assert moved == "agent support: production is version 2\n"
    assert shown(folder, "show", "support@staging")["instructions"] == ""
    assert shown(folder, "show", "support@1")["instructions"] == "Be {{tone}}."
    done(folder, "unlabel", "support", "staging")
    assert shown(folder, "show", "support")["labels"] == {"production": "2"}
    page = shown(folder, "versions", "support", "--limit", "1")
    assert ([row["version"] for row in page["data"]], page["has_more"]) == (["2"], True)
    rest = done(folder, "versions", "support", "--after", page["last_id"]).splitlines()
    assert [line.split()[0] for line in rest] == ["version", "1"]


def test_deleted_agent_is_gone(folder: Path) -> None:
    done(folder, "create", "support", str(folder / "agent.yaml"))

    assert done(folder, "delete", "support") == "agent support: deleted\n"
    assert run(folder, "show", "support").exit_code == 2


@pytest.mark.parametrize(
    ("words", "input", "message"),
    [
        (("create", "a", "-"), "[1]", "must be an object"),
        (("create", "a", "-"), "{model: [}", "not valid YAML"),
        (("create", "a", "-"), "{model: nowhere/x}", "`model`"),
        (("create", "a", "-"), "{model: mock/small, modle: 1}", "`modle`: there is no such field"),
        (("create", "fixed", "-"), "{model: mock/small}", "defined in the configuration file"),
        (("add", "a", "-"), "{model: mock/small}", "There is no agent `a`"),
        (("label", "a", "x", "1"), None, "There is no agent `a`"),
        (("show", "fixed@9"), None, "no version or label `9`"),
    ],
)
def test_what_is_wrong_is_named(folder: Path, words: tuple[str, ...], input: str | None, message: str) -> None:
    result = run(folder, *words, input=input)

    assert result.exit_code == 2
    assert message in result.output
