"""`signalbox conversations`, on a SQLite file."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from proxy.cli import main
from proxy.core.clock import SystemClock
from proxy.core.location import Location
from proxy.store.conversations import ConversationStore
from proxy.store.database import Database
from proxy.store.items import Item

ITEMS: list[dict[str, Any]] = [
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "The tide\x1b[2J?"}]},
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "moon"}]},
    {"type": "function_call", "name": "look", "arguments": "{}"},
    {"type": "function_call_output", "output": "high"},
    {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}, {"type": "x"}]},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two conversations and a configuration that names it."""
    folder = tmp_path_factory.mktemp("conversations")
    (folder / "signalbox.yaml").write_text(f"data_dir: {folder}\nproviders: {{mock: {{dialect: mock}}}}\n")

    async def write() -> None:
        clock = SystemClock()
        database = Database(Location("sqlite", "file", str(folder / "signalbox.db")), clock)
        store = ConversationStore(database, clock)
        many = [Item(f"i{n}", json.dumps({"id": f"i{n}", **ITEMS[n % 5]}).encode()) for n in range(105)]
        await store.create("conv_1", "team:red", {"topic": "tides"}, many[:5])
        await store.create("conv_2", "-", {}, many)
        await database.close()

    asyncio.run(write())
    return folder


def run(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["conversations", *words, "-c", str(folder / "signalbox.yaml")])


def test_conversations_are_listed(folder: Path) -> None:
    everything = run(folder, "list")
    page = run(folder, "list", "--json", "--limit", "1")
    red = run(folder, "list", "--tenant", "team:red", "--json")
    none = run(folder, "list", "--after", "conv_2")

    assert [line.split()[:3] for line in everything.output.splitlines()] == [
        ["id", "tenant", "items"],
        ["conv_1", "team:red", "5"],
        ["conv_2", "-", "105"],
    ]
    assert json.loads(page.output)["has_more"] is True
    assert [row["id"] for row in json.loads(red.output)["data"]] == ["conv_1"]
    assert none.output == "There are no conversations.\n"


def test_a_conversation_is_shown_for_people(folder: Path) -> None:
    lines = run(folder, "show", "conv_1").output.splitlines()

    assert lines[0].split() == ["id", "conv_1"]
    assert [line for line in lines if ": " in line] == [
        "user: The tide?[2J?",
        "reasoning: moon",
        "function_call: look {}",
        "function_call_output: high",
        "assistant: No. [x]",
    ]


def test_conversations_are_exported_as_json_lines(folder: Path) -> None:
    everything = [json.loads(line) for line in run(folder, "export").output.splitlines()]
    one = json.loads(run(folder, "export", "conv_1").output)

    assert [(row["id"], len(row["items"])) for row in everything] == [("conv_1", 5), ("conv_2", 105)]
    assert [item["id"] for item in everything[1]["items"]] == [f"i{n}" for n in range(105)]
    assert one == everything[0] == json.loads(run(folder, "show", "conv_1", "--json").output)


def test_what_is_deleted_during_an_export_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = ConversationStore.list

    async def with_deleted(*arguments: Any) -> Any:
        found = await listed(*arguments)
        return [found[0]._replace(id="conv_0"), *found]

    monkeypatch.setattr(ConversationStore, "list", with_deleted)

    exported = [json.loads(line)["id"] for line in run(folder, "export").output.splitlines()]

    assert exported == ["conv_1", "conv_2"]


@pytest.mark.parametrize("command", ["show", "export", "delete"])
def test_an_unknown_conversation_exits_with_2(folder: Path, command: str) -> None:
    done = run(folder, command, "conv_9")

    assert done.exit_code == 2
    assert "There is no conversation `conv_9`." in done.output


def test_a_conversation_is_deleted(folder: Path) -> None:
    done = run(folder, "delete", "conv_2")

    assert done.output == "conversation conv_2: deleted\n"
    assert [json.loads(line)["id"] for line in run(folder, "export").output.splitlines()] == ["conv_1"]
