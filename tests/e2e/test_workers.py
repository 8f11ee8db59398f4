"""Several workers behind one port, as real processes: balance, sums, restarts, drain, reload, and what is rejected."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support import upstreams
from tests.support.servers import ROOT, Process, signalbox_process
from tests.support.upstreams import DONE, FINISH, ROLE, Upstream, words
from tests.support.waiting import PATIENCE, until

MESSAGES: Any = [{"role": "user", "content": "hi"}]
ADMIN = {"authorization": "Bearer admin-token"}
CLOSE = {"connection": "close"}
FIRST, REST = words("w")[:1], words("w")[1:]
SLOW = upstreams.held([ROLE, *FIRST], [*REST, FINISH, DONE])
MOCK: dict[str, Any] = {
    "store": "none",
    "server": {"workers": 2},
    "auth": {"admin_token": "admin-token"},
    "providers": {"mock": {"dialect": "mock"}},
    "models": [{"id": "mock/m"}],
}


def workers_of(process: Process) -> list[int]:
    """The ids of the workers' processes."""
    pid = process.popen.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def replace_workers(process: Process) -> None:
    """Kill both workers, and wait until both are replaced: what a killed one was given before is lost."""
    before = workers_of(process)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(after := workers_of(process)) == 2 and not {*after} & {*before})


def chat(client: httpx.Client | Any, url: str, model: str = "mock/m", **more: Any) -> httpx.Response:
    answer: httpx.Response = client.post(
        f"{url}/v1/chat/completions", json={"model": model, "messages": MESSAGES}, timeout=PATIENCE, **more
    )
    return answer


def worker_of(answer: httpx.Response) -> str:
    """The part of our id that each process has for itself."""
    return answer.headers["x-router-id"].removeprefix("req_")[:16]


def samples(url: str, name: str) -> dict[tuple[str, ...], float]:
    """The values of a metric, by those of its labels."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(httpx.get(f"{url}/metrics", timeout=PATIENCE).text)
        for sample in family.samples
        if sample.name == name
    }


def total(url: str, name: str = "signalbox_requests_total") -> float:
    return sum(samples(url, name).values())


def lines(process: Process) -> list[dict[str, Any]]:
    return [json.loads(line) for line in process.log.read_text().splitlines()]


def events(process: Process, event: str) -> list[dict[str, Any]]:
    return [line for line in lines(process) if line["event"] == event]


@contextmanager
def in_front_of(upstream: Upstream, folder: Path, **server: Any) -> Iterator[Process]:
    config = {
        "store": "none",
        "server": {"workers": 2, **server},
        "providers": {"up": {"base_url": upstream.url, "any_model": True}},
    }
    with signalbox_process(config, folder) as process:
        yield process


@contextmanager
def streams(process: Process, count: int) -> Iterator[list[tuple[httpx.Response, Iterator[bytes]]]]:
    """Streams that have begun, each on a connection of its own."""
    body = {"model": "up/slow", "messages": MESSAGES, "stream": True}
    with ExitStack() as stack:
        opened = []
        for _ in range(count):
            url = f"{process.url}/v1/chat/completions"
            answer = stack.enter_context(httpx.stream("POST", url, json=body, timeout=PATIENCE))
            pieces = answer.iter_bytes()
            seen = b""
            while FIRST[-1] not in seen:
                seen += next(pieces)
            opened.append((answer, pieces))
        yield opened


def test_connections_are_spread_evenly(tmp_path: Path) -> None:
    with signalbox_process(MOCK, tmp_path) as process, ExitStack() as stack:
        clients = [stack.enter_context(httpx.Client()) for _ in range(8)]
        served = Counter(worker_of(chat(client, process.url)) for client in clients)
        again = Counter(worker_of(chat(client, process.url)) for client in clients)

    assert sorted(served.values()) == [4, 4]
    assert again == served


def test_closed_connections_make_space(tmp_path: Path) -> None:
    with signalbox_process(MOCK, tmp_path) as process, ExitStack() as stack:
        clients = [stack.enter_context(httpx.Client()) for _ in range(4)]
        served = [worker_of(chat(client, process.url)) for client in clients]
        for client, worker in zip(clients, served, strict=True):
            if worker == served[0]:
                client.close()
        more = []
        while more.count(served[0]) < 2:  # the close is seen a moment later
            more.append(worker_of(chat(stack.enter_context(httpx.Client()), process.url)))

    assert Counter(served)[served[0]] == 2


def test_metrics_are_summed_whichever_worker_is_asked(tmp_path: Path) -> None:
    with signalbox_process(MOCK, tmp_path) as process, ExitStack() as stack:
        clients = [stack.enter_context(httpx.Client()) for _ in range(6)]
        for client in clients:
            chat(client, process.url)
        until(lambda: total(process.url) == 6)
        read = [
            {name: total(process.url, name) for name in ("signalbox_requests_total", "signalbox_workers")}
            for _ in range(4)
        ]
        durations = samples(process.url, "signalbox_request_duration_seconds_count")

    assert read == [{"signalbox_requests_total": 6, "signalbox_workers": 2}] * 4
    assert durations == {(): 6}


def test_calls_in_flight_of_all_workers_are_summed(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("slow", SLOW)

    with in_front_of(upstream, tmp_path) as process, streams(process, 3):
        assert total(process.url, "signalbox_inflight_requests") == 3


def test_a_killed_worker_is_replaced_while_the_others_serve(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("slow", SLOW)

    with in_front_of(upstream, tmp_path) as process:
        for _ in range(4):
            chat(httpx, process.url, "up/quick")
        until(lambda: total(process.url) == 4)
        before = workers_of(process)
        with streams(process, 2) as opened:
            os.kill(before[0], signal.SIGKILL)
            statuses = {chat(httpx, process.url, "up/quick").status_code for _ in range(10)}
            for request in upstream.requests:
                request.release()
            ends = []
            for _, pieces in opened:
                try:
                    ends.append(DONE in b"".join(pieces))
                except httpx.RemoteProtocolError:
                    ends.append(False)
        after = until(lambda: found if len(found := workers_of(process)) == 2 and before[0] not in found else None)
        until(lambda: total(process.url, "signalbox_workers") == 2)
        counted = total(process.url)
        restarts = total(process.url, "signalbox_worker_restarts_total")
        [line] = until(lambda: events(process, "a worker ended; it is replaced"))

    assert statuses == {200}
    assert sorted(ends) == [False, True]
    assert before[1] in after
    assert counted >= 4 + 10
    assert restarts == 1
    assert (line["pid"], line["code"], line["restart_in_s"]) == (before[0], -9, 0.0)


def test_one_worker_may_be_ended_gracefully(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("slow", SLOW)

    with in_front_of(upstream, tmp_path) as process:
        before = workers_of(process)
        with streams(process, 2) as opened:
            os.kill(before[0], signal.SIGTERM)
            until(lambda: events(process, "draining"))
            statuses = {chat(httpx, process.url, "up/quick").status_code for _ in range(6)}
            for request in upstream.requests:
                request.release()
            texts = [b"".join(pieces) for _, pieces in opened]
        until(lambda: len(found := workers_of(process)) == 2 and before[0] not in found)

    assert statuses == {200}
    assert all(DONE in text for text in texts)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_all_workers_drain(upstream: Upstream, tmp_path: Path, number: signal.Signals) -> None:
    upstream.script("slow", SLOW)

    with in_front_of(upstream, tmp_path, drain="1h") as process:
        pids = workers_of(process)
        with streams(process, 4) as opened:
            process.popen.send_signal(number)
            for pid in pids:  # as a service manager or a terminal does
                os.kill(pid, number)
            until(lambda: len(events(process, "draining")) == 2)
            ready = httpx.get(f"{process.url}/readyz", headers=CLOSE, timeout=PATIENCE)
            refused = chat(httpx, process.url, "up/quick", headers=CLOSE)
            for request in upstream.requests:
                request.release()
            texts = [b"".join(pieces) for _, pieces in opened]
        code = process.popen.wait(PATIENCE)

    assert (ready.status_code, ready.json()["status"]) == (503, "draining")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
    assert all(DONE in text for text in texts)
    assert code == 0


def test_a_second_signal_ends_all_workers(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("slow", SLOW)

    with in_front_of(upstream, tmp_path, drain="1h") as process, streams(process, 2) as opened:
        process.popen.send_signal(signal.SIGTERM)
        until(lambda: len(events(process, "draining")) == 2)
        process.popen.send_signal(signal.SIGTERM)
        ends = [b"".join(pieces) for _, pieces in opened]
        code = process.popen.wait(PATIENCE)

    assert all(b'"draining"' in end for end in ends)
    assert code == 0


def test_workers_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    with signalbox_process(MOCK, tmp_path) as process:
        pids = workers_of(process)
        process.popen.kill()
        process.popen.wait(PATIENCE)
        until(lambda: not any(running(pid) for pid in pids))


def running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_all_workers_load_a_changed_configuration(tmp_path: Path) -> None:
    with signalbox_process(MOCK, tmp_path) as process:
        path = tmp_path / "signalbox.yaml"
        config = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**config, "models": [{"id": "mock/other"}]}))
        process.popen.send_signal(signal.SIGHUP)
        until(lambda: len({line["version"] for line in events(process, "configuration loaded")}) == 1)
        until(lambda: len(events(process, "configuration loaded")) >= 2)
        statuses = {chat(httpx, process.url, "mock/other").status_code for _ in range(4)}

    assert statuses == {200}


def test_a_replaced_worker_starts_with_the_current_configuration(tmp_path: Path) -> None:
    with signalbox_process(MOCK, tmp_path) as process:
        path = tmp_path / "signalbox.yaml"
        config = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**config, "models": [{"id": "mock/other"}]}))
        until(lambda: len(events(process, "configuration loaded")) >= 2)
        replace_workers(process)
        statuses = {chat(httpx, process.url, "mock/other").status_code for _ in range(4)}

    assert statuses == {200}


@pytest.mark.parametrize("text", [None, "models: 5"], ids=["missing", "invalid"])
def test_a_replaced_worker_starts_with_the_last_valid_configuration(tmp_path: Path, text: str | None) -> None:
    with signalbox_process(MOCK, tmp_path) as process:
        path = tmp_path / "signalbox.yaml"
        config = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**config, "models": [{"id": "mock/other"}]}))
        until(lambda: len(events(process, "configuration loaded")) >= 2)
        total(process.url)  # of all workers: by now the supervisor has received what they sent before
        if text is None:
            path.unlink()
        else:
            path.write_text(text)
        replace_workers(process)
        statuses = [chat(httpx, process.url, model).status_code for model in ("mock/other", "mock/m") for _ in range(4)]

    assert statuses == [200] * 4 + [404] * 4


def test_what_the_admin_api_changes_changes_in_all_workers(tmp_path: Path) -> None:
    with signalbox_process({**MOCK, "testing": True}, tmp_path) as process, ExitStack() as stack:
        clients = [stack.enter_context(httpx.Client()) for _ in range(2)]
        failure = {"provider": "mock", "kind": "error", "seconds": 60}
        httpx.post(f"{process.url}/admin/simulate/failure", json=failure, headers=ADMIN, timeout=PATIENCE)
        failed = {worker_of(answer): answer.status_code for answer in (chat(client, process.url) for client in clients)}
        reset = httpx.post(f"{process.url}/admin/breakers/reset", json={}, headers=ADMIN, timeout=PATIENCE)

    assert list(failed.values()) == [502, 502]
    assert reset.json() == {"reset": 2}


def test_only_one_worker_writes_the_state(tmp_path: Path) -> None:
    with signalbox_process(MOCK, tmp_path) as process:
        chat(httpx, process.url)
        process.popen.send_signal(signal.SIGTERM)
        code = process.popen.wait(PATIENCE)

    assert code == 0
    assert events(process, "another process uses data_dir; state is not saved") == []


def refused(folder: Path, config: dict[str, Any], *arguments: str, **environ: str) -> tuple[int, str]:
    """The exit code and the messages of a `serve` that does not start."""
    path = folder / "signalbox.yaml"
    path.write_text(yaml.safe_dump({**config, "data_dir": str(folder / "data")}))
    command = [sys.executable, "-m", "proxy", "serve", "--port", "0", "--config", str(path), *arguments]
    env = {"PATH": os.environ["PATH"], "TMPDIR": str(folder), **environ}
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return ended.returncode, ended.stderr


LIMITED = {**MOCK, "models": [{"id": "mock/m", "limits": {"rpm": 5}}]}


@pytest.mark.parametrize(("workers", "arguments"), [(2, ()), (1, ("--workers", "2"))])
def test_limits_are_rejected(tmp_path: Path, workers: int, arguments: tuple[str, ...]) -> None:
    code, text = refused(tmp_path, {**LIMITED, "server": {"workers": workers}}, *arguments)

    assert code == 2
    assert "models[0].limits: with 2 workers a limit needs a shared `state`" in text
    assert "signalbox.yaml:" in text


def test_limits_that_are_added_later_are_rejected(tmp_path: Path) -> None:
    with signalbox_process(MOCK, tmp_path) as process:
        path = tmp_path / "signalbox.yaml"
        limited = {**yaml.safe_load(path.read_text()), "models": LIMITED["models"], "server": {"workers": 1}}
        path.write_text(yaml.safe_dump(limited))
        rejected = until(lambda: events(process, "configuration rejected; keeping the previous one"))
        status = chat(httpx, process.url).status_code

    assert "with 2 workers a limit needs a shared `state`" in rejected[0]["problems"]
    assert status == 200


def test_workers_that_end_at_their_start_end_the_service(tmp_path: Path) -> None:
    of_worker = "'proxy.workers.supervisor' in sys.modules"  # the process that loads the configuration works
    script = f"import os, sys\nos.register_at_fork(after_in_child=lambda: {of_worker} and os._exit(3))\n"
    (tmp_path / "sitecustomize.py").write_text(script)

    code, text = refused(tmp_path, MOCK, PYTHONPATH=str(tmp_path))

    assert code == 1
    assert "ended with exit code 3 before all workers were ready" in text
