"""The memory watermark, in a real process: new calls are rejected, and running ones finish."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.admission.memory import resident
from tests.support import upstreams
from tests.support.servers import Process, signalbox_process
from tests.support.upstreams import Upstream
from tests.support.waiting import PATIENCE, until

MIB = 1024 * 1024
BODY = json.dumps(upstreams.completion("whole")).encode()
CLOSE = {"connection": "close"}
CGROUPS = Path("/sys/fs/cgroup/memory")
LARGEST_UNWEIGHED = MIB - 1024


def post(url: str, size: int) -> httpx.Response:
    chat: dict[str, Any] = {"model": "up/slow", "messages": [{"role": "user", "content": "x" * size}]}
    return httpx.post(f"{url}/v1/chat/completions", json=chat, timeout=PATIENCE)


def filled(process: Process, upstream: Upstream, pool: ThreadPoolExecutor, size: int) -> list[Future[httpx.Response]]:
    """Calls with bodies of `size` bytes, one after another, until one is rejected."""
    calls: list[Future[httpx.Response]] = []
    while not any(call.done() for call in calls):
        assert len(calls) < 60, "memory never reached the watermark"
        calls.append(pool.submit(post, process.url, size))
        until(lambda: len(upstream.requests) == len(calls) or calls[-1].done())
    return calls


def events(process: Process) -> list[str]:
    return [json.loads(line)["event"] for line in process.log.read_text().splitlines()]


@contextmanager
def serving(
    upstream: Upstream, folder: Path, watermark: str = "0", environ: dict[str, str] | None = None
) -> Iterator[Process]:
    server = {"memory_watermark": watermark, "drain": "1s"}
    config = {"store": "none", "server": server, "providers": {"up": {"base_url": upstream.url, "any_model": True}}}
    with signalbox_process(config, folder, environ) as process:
        yield process


def test_above_the_watermark_only_new_calls_are_rejected(
    http: httpx.Client, upstream: Upstream, tmp_path: Path
) -> None:
    upstream.script("slow", upstreams.held_plain(BODY))

    with serving(upstream, tmp_path, "120MiB") as process, ThreadPoolExecutor(60) as pool:
        calls = filled(process, upstream, pool, LARGEST_UNWEIGHED)
        *running, rejected = calls
        ready = until(lambda: None if (got := http.get(f"{process.url}/readyz", headers=CLOSE)).is_success else got)
        alive = http.get(f"{process.url}/livez", headers=CLOSE)
        measured = http.get(f"{process.url}/metrics").text
        for request in upstream.requests:
            request.release()
        answers = [call.result(PATIENCE) for call in running]
        until(lambda: http.get(f"{process.url}/readyz", headers=CLOSE).is_success)
        upstream.script("slow", upstreams.plain(BODY))
        later = post(process.url, 10)

    answer = rejected.result()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
    assert answer.headers["retry-after"] == "2"
    assert (ready.status_code, ready.json()["status"], alive.status_code) == (503, "overloaded", 200)
    values = dict(line.split(" ") for line in measured.splitlines() if line.startswith("signalbox_memory_"))
    assert float(values["signalbox_memory_watermark_bytes"]) == 120 * MIB
    assert "signalbox_memory_shedding 1.0" in measured
    assert {answer.status_code for answer in answers} == {200}
    assert later.status_code == 200
    shed = "memory is above the watermark; rejecting new calls"
    assert [event for event in events(process) if "calls" in event][:2] == [shed, "accepting calls again"]


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A cgroup of 192 MiB, where this user may make one."""
    folder = CGROUPS / f"signalbox-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(192 * MIB))
    except OSError as exc:
        pytest.skip(f"no cgroup can be made here: {exc}")
    yield folder
    until(lambda: not (folder / "cgroup.procs").read_text())
    folder.rmdir()


def test_large_bodies_do_not_get_a_container_killed(
    http: httpx.Client, upstream: Upstream, tmp_path: Path, cgroup: Path
) -> None:
    upstream.script("slow", upstreams.held_plain(BODY))
    join = tmp_path / "sitecustomize.py"
    join.write_text(f"open({str(cgroup / 'cgroup.procs')!r}, 'w').write(str(__import__('os').getpid()))\n")
    environ = {"PYTHONPATH": str(tmp_path)}

    with serving(upstream, tmp_path, environ=environ) as process, ThreadPoolExecutor(60) as pool:
        calls = filled(process, upstream, pool, 8 * MIB)
        used = resident(process.popen.pid)
        for request in upstream.requests:
            request.release()
        statuses = [call.result(PATIENCE).status_code for call in calls]
        until(lambda: http.get(f"{process.url}/readyz", headers=CLOSE).is_success)
        code = process.popen.poll()

    assert statuses[-1] == 503
    assert set(statuses[:-1]) == {200}
    assert used < 192 * MIB
    assert code is None
