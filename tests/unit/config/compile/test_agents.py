"""Agents of the file, compiled to the snapshot."""

from __future__ import annotations

from pathlib import Path

from proxy.config.compile.snapshot import compile_snapshot
from proxy.core.agents import Agent
from tests.unit.config.files import loaded

FILE = """
providers: {acme: {base_url: http://x/v1, any_model: true}}
models: [{id: acme/small, tier: low}]
agents:
  plain: {model: tier/low}
  support:
    model: acme/large
    instructions: |
      You work for {{company}}.
    tools:
      - {type: function, name: look_up, parameters: {type: object}}
      - {type: web_search}
      - {type: function, function: {name: other}}
    params: {temperature: 0.2}
    variables: {company: Acme, tone: null}
    description: Answers customers
"""


def agents(path: Path, text: str) -> dict[str, Agent]:
    return dict(compile_snapshot(loaded(path, text).settings).agents)


def test_an_agent_has_its_labels_and_a_version_of_its_content(tmp_path: Path) -> None:
    names = agents(tmp_path, FILE)
    version = names["plain"].version

    assert [name for name in names if name.startswith("plain")] == [
        f"plain@{version}",
        "plain@production",
        "plain",
        "plain@latest",
    ]
    assert version.startswith("file-")
    assert agents(tmp_path, FILE.replace("plain: {", "plain: {description: x, "))["plain"].version != version
    assert agents(tmp_path, FILE.replace("customers", "clients"))["plain"].version == version


def test_all_its_settings_are_compiled(tmp_path: Path) -> None:
    support = agents(tmp_path, FILE)["support"]

    assert support == Agent(
        "support",
        support.version,
        "acme/large",
        instructions="You work for {{company}}.\n",
        tools=(
            {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}},
            {"type": "web_search"},
            {"type": "function", "function": {"name": "other"}},
        ),
        params={"temperature": 0.2},
        variables={"company": "Acme", "tone": None},
        description="Answers customers",
    )


def test_the_model_of_an_agent_is_known_though_it_is_not_listed(tmp_path: Path) -> None:
    assert "acme/large" in compile_snapshot(loaded(tmp_path, FILE).settings).deployments
