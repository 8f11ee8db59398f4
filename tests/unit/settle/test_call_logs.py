"""The service that writes the logs of calls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.core.record import Outcome, Record
from proxy.settle import call_logs as module
from proxy.settle.call_logs import CallLogs
from tests.support.fakes import FakeClock, turn
from tests.support.ledgers import answered, begun, eventually

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def running(folder: Path, clock: FakeClock) -> AsyncIterator[CallLogs]:
    """The service."""
    logs = CallLogs(folder, clock)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(logs.run())
        await turn()
        yield logs
        task.cancel()


def ended(number: int, clock: FakeClock, *, success: bool = True) -> Record:
    """A call that has ended."""
    record, _ = begun(number, clock)
    if success:
        answered(record)
    else:
        record.end(Outcome.ERROR, status=502, code="upstream_error")
    return record


def names(folder: Path, suffix: str) -> list[str]:
    """The names of all files."""
    return sorted(path.name for path in folder.glob(f"*.{suffix}") if not path.name.startswith("."))


def lines(folder: Path, suffix: str) -> list[str]:
    """The lines of all files."""
    return [line for path in sorted(folder.glob(f"*.{suffix}")) for line in path.read_text().splitlines()]


async def test_each_call_is_a_line(tmp_path: Path) -> None:
    clock = FakeClock()
    async with running(tmp_path, clock) as logs:
        logs.note(ended(1, clock), 1.0, "tier/low", requests="jsonl", daily=False)
        logs.note(ended(2, clock), 1.0, "tier/low", requests="jsonl", daily=False)
        await eventually(lambda: len(lines(tmp_path, "jsonl")) == 2)

    assert [json.loads(line)["id"] for line in lines(tmp_path, "jsonl")] == ["req_1", "req_2"]
    assert lines(tmp_path, "json") == []


async def test_the_end_writes_what_is_left(tmp_path: Path) -> None:
    clock = FakeClock()
    async with running(tmp_path, clock) as logs:
        logs.note(ended(1, clock), 1.0, "tier/low", requests="csv", daily=True)

    assert len(lines(tmp_path, "csv")) == 2  # with the header
    assert json.loads("".join(lines(tmp_path, "json")))["total"] == 1


async def test_the_sums_count_routes_targets_and_errors(tmp_path: Path) -> None:
    clock = FakeClock()
    async with running(tmp_path, clock) as logs:
        logs.note(ended(1, clock), 2.0, "tier/low", requests="none", daily=True)
        logs.note(ended(2, clock, success=False), 9.0, "other", requests="none", daily=True)

    content = json.loads("".join(lines(tmp_path, "json")))
    assert (content["total"], content["successful"], content["mean_latency_ms"]) == (2, 1, 2000.0)
    assert (content["by_route"], content["errors"]) == ({"tier/low": 1, "other": 1}, {"server_error": 1})
    assert (content["by_provider"], content["by_model"]) == ({"acme": 2}, {"acme/small": 2})
    assert lines(tmp_path, "jsonl") == []


async def test_calls_of_several_days_go_to_several_files(tmp_path: Path) -> None:
    clock = FakeClock()
    async with running(tmp_path, clock) as logs:
        for number in (1, 2):
            logs.note(ended(number, clock), 1.0, "tier/low", requests="jsonl", daily=True)
            clock.pass_(86_400)

    assert names(tmp_path, "jsonl") == ["requests-2027-01-15.jsonl", "requests-2027-01-16.jsonl"]
    assert names(tmp_path, "json") == ["daily-2027-01-15.json", "daily-2027-01-16.json"]


async def test_lines_beyond_the_limit_are_dropped_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    monkeypatch.setattr(module, "MOST_LINES", 3)
    async with running(tmp_path, clock) as logs:
        for number in range(5):
            logs.note(ended(number, clock), 1.0, "tier/low", requests="jsonl", daily=False)

    assert len(lines(tmp_path, "jsonl")) == 3
    assert [record.__dict__["fields"] for record in caplog.records] == [{"lines": 2}]


async def test_sums_that_cannot_be_written_are_added_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock, folder = FakeClock(), tmp_path / "logs"
    folder.write_text("not a folder")
    async with running(folder, clock) as logs:
        logs.note(ended(1, clock), 1.0, "tier/low", requests="none", daily=True)
        await eventually(lambda: caplog.records)
        folder.unlink()
        logs.note(ended(2, clock), 1.0, "tier/low", requests="none", daily=True)

    assert json.loads("".join(lines(folder, "json")))["total"] == 2
    assert caplog.records[0].message == "the logs of calls cannot be written"
