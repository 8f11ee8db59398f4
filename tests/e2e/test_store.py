"""Signalbox with a PostgreSQL that fails, and with one that has no tables."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.databases import Postgres
from tests.support.servers import ROOT, signalbox
from tests.support.waiting import until

CONFIG: dict[str, Any] = {
    "providers": {"mock": {"dialect": "mock"}},
    "models": [{"id": "mock/small", "tier": "low"}],
}
BODY = {"model": "mock/small", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def stopped(postgres: Postgres) -> Iterator[Postgres]:
    """The server of the store, stopped; it is started again."""
    postgres.stop()
    yield postgres
    if not postgres.runs():
        postgres.start()


def config(store: str, policy: str) -> dict[str, Any]:
    return {**CONFIG, "store": store, "dependencies": {"store": {"fail": policy}}}


def test_with_fail_closed_calls_wait_for_the_store(postgres_url: str, stopped: Postgres, tmp_path: Path) -> None:
    with signalbox(config(postgres_url, "closed"), tmp_path) as service, httpx.Client(base_url=service.url) as client:
        rejected = client.post("/v1/chat/completions", json=BODY)
        ready = client.get("/readyz")
        degraded = client.get("/metrics").text
        stopped.start()
        answered = until(lambda: accepted(client))

    assert rejected.status_code == 503
    assert rejected.json()["error"]["code"] == "store_unavailable"
    assert "retry-after" in rejected.headers
    assert ready.status_code == 200
    assert "signalbox_store_degraded 1.0" in degraded
    assert answered.status_code == 200


def test_with_fail_open_calls_go_on_without_the_store(postgres_url: str, stopped: Postgres, tmp_path: Path) -> None:
    with signalbox(config(postgres_url, "open"), tmp_path) as service:
        answer = httpx.post(f"{service.url}/v1/chat/completions", json=BODY)

    assert answer.status_code == 200


def test_serve_refuses_postgresql_without_tables(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.url(postgres.create())

    done = serve(config(url, "open"), tmp_path)

    assert done.returncode == 1
    assert "the database has no tables" in done.stderr
    assert "run `signalbox migrate`" in done.stderr


def test_a_command_prints_one_line_when_the_store_is_unavailable(tmp_path: Path) -> None:
    store = "postgresql://nobody@127.0.0.1:1/none"

    done = command(config(store, "open"), tmp_path, "users", "list")

    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: the store 127.0.0.1:1/none is unavailable: ")


def serve(settings: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    return command(settings, folder, "serve", "--port", "0")


def command(settings: dict[str, Any], folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = folder / "signalbox.yaml"
    path.write_text(yaml.safe_dump({**settings, "data_dir": str(folder)}))
    line = [sys.executable, "-m", "proxy", *words, "--config", str(path)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)


def accepted(client: httpx.Client) -> httpx.Response | None:
    response = client.post("/v1/chat/completions", json=BODY)
    return None if response.status_code == 503 else response
