"""Limits need one worker, or a shared state that counts over several."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.errors import ConfigError
from proxy.config.load import load, parse
from proxy.config.source import fetch

MODEL = """
server: {workers: %d}
providers: {p: {base_url: http://localhost/v1, keys: [{id: k, value: sk-0123456789abcdef}]}}
models:
  - {id: p/free}
  - {id: p/m, limits: {rpm: 5}}
"""
KEY = """
server: {workers: %d}
providers: {p: {base_url: http://localhost/v1, keys: [{id: k, value: sk-0123456789abcdef, limits: {concurrency: 1}}]}}
"""


def written(folder: Path, text: str, workers: int) -> Path:
    path = folder / "signalbox.yaml"
    path.write_text(text % workers)
    return path


def problems(path: Path, workers: int | None = None, running: int = 1) -> list[str]:
    try:
        parse(fetch(path), {}, workers, running=running)
    except ConfigError as error:
        return [f"{problem.line}: {problem.where}" for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (MODEL, "6: models[1].limits"),
        (KEY, "3: providers.p.keys[0].limits"),
        ("server: {workers: %d}\ndefaults: {key_limits: {rpm: 5}}\n", "2: defaults.key_limits"),
    ],
    ids=["model", "key", "defaults"],
)
def test_limits_are_rejected_with_several_workers(tmp_path: Path, text: str, where: str) -> None:
    assert problems(written(tmp_path, text, 1)) == []
    assert problems(written(tmp_path, text, 2)) == [where]


def test_a_shared_state_allows_limits_with_several_workers(tmp_path: Path) -> None:
    assert problems(written(tmp_path, MODEL + "state: redis://127.0.0.1:1/0", 2)) == []


@pytest.mark.parametrize(
    ("file", "override", "running", "rejected"),
    [(1, 2, 1, True), (2, 1, 1, False), (1, None, 2, True), (1, None, 1, False), (2, None, 1, True)],
)
def test_the_workers_that_run_or_will_run_count(
    tmp_path: Path, file: int, override: int | None, running: int, rejected: bool
) -> None:
    assert bool(problems(written(tmp_path, MODEL, file), override, running)) == rejected


@pytest.mark.parametrize(("file", "override", "workers"), [(1, None, 1), (3, None, 3), (3, 2, 2)])
def test_the_number_of_workers_is_known(tmp_path: Path, file: int, override: int | None, workers: int) -> None:
    path = tmp_path / "signalbox.yaml"
    path.write_text(f"server: {{workers: {file}}}")

    assert load(path, {}, override).workers == workers


@pytest.mark.parametrize(
    ("text", "rejected"),
    [
        ("budgets: [{scope: total, usd: 1}]", ["3: budgets[0]"]),
        ("defaults: {user_budget: {usd: 1}}", []),  # without authentication there are no users
    ],
)
def test_budgets_are_rejected_with_several_workers(tmp_path: Path, text: str, rejected: list[str]) -> None:
    path = written(tmp_path, "\nserver: {workers: %d}\n" + text, 2)

    assert problems(path) == rejected
