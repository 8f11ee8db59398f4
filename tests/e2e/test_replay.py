"""Calls of a real service, replayed from its store under other configurations."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from click.testing import CliRunner, Result

from proxy.cli import main
from proxy.core.clock import SystemClock
from proxy.core.location import locate
from proxy.routing.learned import State, encode
from proxy.store.database import Database
from proxy.store.learning import LearningStore
from tests.support.servers import signalbox_process
from tests.support.waiting import PATIENCE, until

CALLS = (
    ("auto", "Hello"),
    ("auto", "Prove the theorem step by step, derive the equation rigorously and justify each step."),
    ("tier/low", "Hello"),
    ("named", "Hello"),
    ("later", "Hello"),
)
MODELS = [
    {"id": "mock/small", "tier": "low", "price": {"input": 1, "output": 2}},
    {"id": "mock/large", "tier": "high", "price": {"input": 10, "output": 20}},
]


def configuration(folder: Path, **sections: Any) -> dict[str, Any]:
    return {
        "data_dir": str(folder / "data"),
        "store": f"sqlite:///{folder}/signalbox.db",
        "providers": {"mock": {"dialect": "mock"}},
        "models": MODELS,
        "routing": {"aliases": {"named": "mock/large"}},
        **sections,
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the store of a service that has answered the calls."""
    folder = tmp_path_factory.mktemp("replay")
    with (
        signalbox_process(configuration(folder), folder) as process,
        httpx.Client(base_url=process.url, trust_env=False, timeout=PATIENCE) as client,
    ):
        counted = {"model": "mock/large", "messages": [{"role": "user", "content": "How many?"}]}
        assert client.post("/v1/messages/count_tokens", json=counted).status_code == 200  # is not replayed
        for model, text in CALLS:
            body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 20}
            client.post("/v1/chat/completions", json=body)
        until(lambda: json.loads(replay(folder, "--json").stdout)["calls"]["recorded"] == len(CALLS))
    return folder


def replay(folder: Path, *arguments: str, **sections: Any) -> Result:
    """Replay the calls under a configuration with these sections."""
    file = folder / "new.yaml"
    file.write_text(yaml.safe_dump(configuration(folder, **sections)))
    return CliRunner().invoke(main, ["replay", "--config", str(file), *arguments])


def test_the_same_configuration_moves_nothing(folder: Path) -> None:
    result = replay(folder, "--json", "--fail-if", "moved>0", "--fail-if", "cost>0", "--fail-if", "rejected>0")

    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["calls"]["replayed"] == len(CALLS)
    assert report["calls"]["answered_before"] == report["calls"]["answered_after"] == len(CALLS) - 1
    assert report["cost_usd"]["before"] == report["cost_usd"]["after"] > 0


def test_another_configuration_moves_calls(folder: Path) -> None:
    aliases = {"named": "mock/small", "later": "mock/small"}
    html = folder / "replay.html"

    result = replay(folder, "--json", "--html", str(html), routing={"aliases": aliases})

    report = json.loads(result.stdout)
    assert [(move["from"], move["to"], move["calls"]) for move in report["moves"]] == [
        ("-", "mock/small", 1),
        ("mock/large", "mock/small", 1),
    ]
    assert report["rejections"]["answered_now"] == 1
    assert report["cost_usd"]["change"] < 0
    assert "mock/large" in html.read_text()


def test_a_budget_rejects_calls_and_fails_a_condition(folder: Path) -> None:
    budgets = [{"scope": "total", "usd": 0.000001}]

    result = replay(folder, "--fail-if", "rejected>50%", budgets=budgets)

    assert result.exit_code == 1
    assert "budget" in result.stdout
    assert "rejected>50%: 80%" in result.output


def test_what_the_store_has_learned_is_read(folder: Path) -> None:
    async def publish() -> None:
        location = locate(f"sqlite:///{folder}/signalbox.db", "")
        assert location is not None
        database = Database(location, SystemClock())
        await LearningStore(database).publish(1, 1, encode(State(1, 0, 0, {})), 10)
        await database.close()

    asyncio.run(publish())
    learning = {"learning": {"enabled": True}, "routing": {"classifier": {"kind": "model"}}}

    report = json.loads(replay(folder, "--json", **learning).stdout)

    assert (report["calls"]["replayed"], report["calls"]["moved"]) == (len(CALLS), 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--since", "yesterday"], "or a duration, such as 7d"),
        (["--until", "2020-01-01", "--since", "2021-01-01"], "before --until"),
        (["--fail-if", "cost>lots"], "cost>+5%"),
    ],
)
def test_invalid_options_are_exit_2(folder: Path, arguments: list[str], message: str) -> None:
    result = replay(folder, *arguments)

    assert result.exit_code == 2
    assert message in result.output


def test_records_may_be_in_the_store_of_another_configuration(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "records.yaml").write_text(yaml.safe_dump(configuration(folder)))

    result = replay(folder, "--records", str(tmp_path / "records.yaml"), "--model", "small", "--json", store="none")

    assert {row["model"] for row in json.loads(result.stdout)["models"]} == {"mock/small"}
