"""A changed configuration takes effect without a restart, and a wrong one changes nothing, also under traffic."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import yaml

from proxy.app import Parts
from proxy.core.clock import SystemClock
from proxy.core.model import MockOptions
from proxy.http.meta import CONFIG_REJECTED
from proxy.mock.server import mock_app
from proxy.settle.log import logging_to
from tests.support.servers import (
    ROOT,
    RecordingUpstream,
    Running,
    recording_upstream,
    serving,
    signalbox,
    signalbox_process,
)
from tests.support.waiting import PATIENCE, until

CHAT = "/v1/chat/completions"
ADMIN = {"authorization": "Bearer admin"}
HELLO = [{"role": "user", "content": "Hello"}]


class Brisk(SystemClock):
    """Real time, without long pauses between two looks at the file."""

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(min(seconds, 0.01))


@dataclass
class Box:
    """Signalbox with a configuration that the test changes."""

    running: Running
    upstream: RecordingUpstream
    http: httpx.Client
    settings: dict[str, Any] = field(default_factory=dict)

    def write(self, **changed: Any) -> None:
        """Put a configuration in place, as an editor would: whole, by a rename."""
        self.settings |= changed
        self.write_text(yaml.safe_dump(self.settings))

    def write_text(self, text: str) -> None:
        """The same with any text."""
        new = self.running.config.with_suffix(".new")
        new.write_text(text)
        new.replace(self.running.config)

    def ready(self) -> dict[str, Any]:
        """What `/readyz` says; it is always ready."""
        answer = self.http.get("/readyz", headers=ADMIN)
        assert answer.status_code == 200
        value: dict[str, Any] = answer.json()
        return value

    def changed(self, **settings: Any) -> None:
        """Write, and wait until it is in force."""
        before = self.ready()["config"]
        self.write(**settings)
        until(lambda: bool(self.ready()["config"] != before))

    def chat(self, model: str, **more: Any) -> httpx.Response:
        """One call."""
        return self.http.post(CHAT, json={"model": model, "messages": HELLO, **more})

    def reload_success(self) -> float:
        """The metric."""
        [line] = [
            line for line in self.http.get("/metrics").text.splitlines() if line.startswith("signalbox_config_reload_")
        ]
        return float(line.split(" ")[1])


def config(upstream: str) -> dict[str, Any]:
    return {
        "auth": {"admin_token": "admin"},
        "providers": {"up": {"base_url": upstream, "keys": [{"id": "main", "value": "${UP_KEY}"}]}},
        "models": [{"id": "up/one"}, {"id": "up/two"}],
        "routing": {"aliases": {"which": "up/one"}},
    }


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[str, RecordingUpstream]]:
    with recording_upstream() as found:
        yield found


@pytest.fixture
def box(shared: tuple[str, RecordingUpstream], tmp_path: Path) -> Iterator[Box]:
    url, upstream = shared
    upstream.requests.clear()
    (tmp_path / ".env").write_text("UP_KEY=first-key\n")
    settings = config(url)
    with (
        signalbox(settings, tmp_path, parts=Parts(clock=Brisk())) as running,
        httpx.Client(base_url=running.url, trust_env=False, timeout=PATIENCE) as http,
    ):
        yield Box(running, upstream, http, settings)


def test_a_changed_file_is_in_force_for_new_calls(box: Box) -> None:
    before = box.chat("which").json()["model"]

    box.changed(routing={"aliases": {"which": "up/two", "new": "up/one"}})

    assert before == "one"
    assert box.chat("which").json()["model"] == "two"
    assert "new" in [model["id"] for model in box.http.get("/v1/models").json()["data"]]
    assert box.reload_success() == 1


def test_a_removed_model_is_gone(box: Box) -> None:
    box.changed(models=[{"id": "up/one"}])

    assert box.chat("up/two").json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        ("providers: [", ""),
        ("serverr: {}\n", "serverr"),
        ("routing: {aliases: {a: b, b: a}}\n", "aliases"),
        ("models: [{id: up/one}]\n", "up"),
        ("", ""),
        ("models: []\nmodels: []\n", "models"),
    ],
)
def test_a_broken_file_keeps_the_last_good_one_and_says_so(box: Box, broken: str, named: str) -> None:
    version = box.ready()["config"]

    box.write_text(broken)
    until(lambda: "config_error" in box.ready())

    ready = box.ready()
    assert ready["config"] == version
    assert ready["config_error"].startswith(f"{box.running.config}")
    assert named in ready["config_error"]
    assert box.http.get("/readyz").json()["config_error"] == CONFIG_REJECTED
    assert box.reload_success() == 0
    assert box.chat("which").json()["model"] == "one"

    box.write(routing={"aliases": {"which": "up/two"}})
    until(lambda: "config_error" not in box.ready())
    assert box.reload_success() == 1
    assert box.chat("which").json()["model"] == "two"


def test_a_file_that_is_gone_keeps_the_last_good_one(box: Box) -> None:
    box.running.config.unlink()
    until(lambda: "config_error" in box.ready())

    assert box.reload_success() == 0
    assert box.chat("which").status_code == 200

    box.write()
    until(lambda: "config_error" not in box.ready())
    assert box.reload_success() == 1


def test_a_broken_file_that_is_put_back_as_it_was_is_well_again(box: Box) -> None:
    good = box.running.config.read_text()
    box.write_text("broken: [")
    until(lambda: "config_error" in box.ready())

    box.write_text(good)

    until(lambda: "config_error" not in box.ready())
    assert box.reload_success() == 1


def test_a_changed_env_file_is_in_force_too(box: Box) -> None:
    box.chat("up/one")

    (box.running.config.parent / ".env").write_text("UP_KEY=second-key\n")

    until(
        lambda: box.chat("up/one").is_success and box.upstream.requests[-1].headers["authorization"].endswith("d-key")
    )
    assert box.upstream.requests[0].headers["authorization"] == "Bearer first-key"
    assert box.upstream.requests[-1].headers["authorization"] == "Bearer second-key"


def test_a_key_that_is_no_longer_set_leaves_its_provider_out(box: Box) -> None:
    (box.running.config.parent / ".env").unlink()

    until(lambda: not box.chat("up/one").is_success)
    error = box.chat("up/one").json()["error"]
    assert error["code"] == "model_not_found"
    assert "UP_KEY" in error["message"]


def test_a_call_keeps_the_configuration_that_it_began_with(box: Box, tmp_path: Path) -> None:
    slow = mock_app(MockOptions(latency=0.2, tokens=100), SystemClock())
    with serving(slow) as url:
        providers = {"slow": {"base_url": f"{url}/v1"}}
        box.changed(providers=providers, models=[{"id": "slow/one"}], routing={})

        with box.http.stream("POST", CHAT, json={"model": "slow/one", "messages": HELLO, "stream": True}) as answer:
            lines = answer.iter_lines()
            first = next(lines)
            box.changed(models=[{"id": "slow/two"}])
            rest = [line for line in lines if line]

    assert "assistant" in first
    assert rest[-1] == "data: [DONE]"
    assert len(rest) > 100


def test_no_call_fails_while_the_configuration_changes(box: Box) -> None:
    over = threading.Event()
    seen: list[tuple[int, str]] = []

    def ask() -> None:
        with httpx.Client(base_url=box.running.url, trust_env=False, timeout=PATIENCE) as http:
            stream = False
            while not over.is_set():
                stream = not stream
                answer = http.post(CHAT, json={"model": "which", "messages": HELLO, "stream": stream})
                whole = answer.text.rstrip().endswith("[DONE]") if stream else "choices" in answer.json()
                seen.append((answer.status_code, "whole" if whole else answer.text))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(10):
            model, before = "two" if number % 2 else "one", len(box.upstream.requests)
            box.changed(routing={"aliases": {"which": f"up/{model}", f"new-{number}": "up/one"}})
            until(lambda: model in [each.body["model"] for each in box.upstream.requests[before:]])  # noqa: B023
            box.write_text("broken: [")
            until(lambda: "config_error" in box.ready())
    finally:
        over.set()
        for thread in threads:
            thread.join()

    assert len(seen) >= 10
    assert set(seen) == {(200, "whole")}
    assert set(box.upstream.models) == {"one", "two"}


def test_what_a_reload_cannot_change_is_said(box: Box) -> None:
    log = io.StringIO()

    with logging_to(log, patience=PATIENCE):
        box.changed(server={"max_body": "1MiB"})

    warnings = [line for line in map(json.loads, log.getvalue().splitlines()) if line["level"] == "warning"]
    assert ["server" in warning["settings"] for warning in warnings] == [True]


def test_sighup_loads_again_also_what_has_not_changed(tmp_path: Path) -> None:
    settings = {"providers": {"mock": {"dialect": "mock"}}, "models": [{"id": "mock/one"}]}

    with (
        signalbox_process(settings, tmp_path) as process,
        httpx.Client(base_url=process.url, trust_env=False, timeout=PATIENCE) as http,
    ):
        before = process.log.read_text().count("configuration loaded")
        process.popen.send_signal(signal.SIGHUP)
        until(lambda: process.log.read_text().count("configuration loaded") > before)
        alive = http.get("/livez")
        answer = http.post(CHAT, json={"model": "mock/one", "messages": HELLO})

    assert alive.is_success
    assert answer.status_code == 200


def test_a_configuration_from_a_pipe_serves_and_outlives_sighup(tmp_path: Path) -> None:
    settings = {"providers": {"mock": {"dialect": "mock"}}, "models": [{"id": "mock/one"}]}
    reading, writing = os.pipe()
    os.write(writing, yaml.safe_dump({**settings, "data_dir": str(tmp_path / "data")}).encode())
    os.close(writing)
    arguments = [sys.executable, "-m", "proxy", "serve", "--port", "0", "--config", f"/dev/fd/{reading}"]
    log = tmp_path / "log"

    with (
        log.open("w") as output,
        subprocess.Popen(
            arguments, cwd=ROOT, stdout=output, stderr=subprocess.PIPE, text=True, pass_fds=(reading,)
        ) as popen,
    ):
        os.close(reading)
        try:
            assert popen.stderr is not None
            url = next(match[1] for line in popen.stderr if (match := re.search(r"(http://\S+)/v1", line)))
            popen.send_signal(signal.SIGHUP)
            until(lambda: "came from a pipe" in log.read_text())
            body = {"model": "mock/one", "messages": HELLO}
            answer = httpx.post(f"{url}{CHAT}", json=body, trust_env=False, timeout=PATIENCE)
            popen.send_signal(signal.SIGTERM)
            assert popen.wait(PATIENCE) == 0
        finally:
            popen.kill()

    assert answer.status_code == 200
    assert log.read_text().count("configuration rejected") == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_sighup_during_the_start_reloads_after_it(tmp_path: Path, workers: int) -> None:
    pipe, log = tmp_path / "signalbox.yaml", tmp_path / "log"
    os.mkfifo(pipe)
    settings = {"data_dir": str(tmp_path / "data"), "store": "none", "providers": {"mock": {"dialect": "mock"}}}
    serve = [sys.executable, "-m", "proxy", "serve", "--port", "0", "--workers", str(workers), "--config", str(pipe)]

    with (
        log.open("w") as output,
        subprocess.Popen(
            serve, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, text=True, start_new_session=True
        ) as popen,
    ):
        try:
            writing = until(lambda: _opened(pipe))  # the service has started, and waits for its configuration
            os.killpg(popen.pid, signal.SIGHUP)
            os.write(writing, yaml.safe_dump(settings).encode())
            os.close(writing)
            until(lambda: log.read_text().count("came from a pipe") == workers)
            popen.send_signal(signal.SIGTERM)
            code = popen.wait(PATIENCE)
        finally:
            popen.kill()

    assert code == 0


def test_sigterm_during_the_start_ends_the_service(tmp_path: Path) -> None:
    pipe, log = tmp_path / "signalbox.yaml", tmp_path / "log"
    os.mkfifo(pipe)
    serve = [sys.executable, "-m", "proxy", "serve", "--port", "0", "--config", str(pipe)]

    with log.open("w") as output, subprocess.Popen(serve, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT) as popen:
        try:
            writing = until(lambda: _opened(pipe))
            popen.send_signal(signal.SIGTERM)
            code = popen.wait(PATIENCE)
            os.close(writing)
        finally:
            popen.kill()

    assert (code, log.read_text()) == (0, "")


def _opened(pipe: Path) -> int | None:
    """The pipe for writing, once a process reads it."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


def test_a_pipe_as_configuration_blocks_neither_reload_nor_exit(tmp_path: Path) -> None:
    settings = {"providers": {"mock": {"dialect": "mock"}}, "models": [{"id": "mock/one"}]}
    with signalbox_process(settings, tmp_path) as process:
        path = tmp_path / "signalbox.yaml"
        text = path.read_text()
        path.unlink()
        os.mkfifo(path)
        until(lambda: "not a pipe" in process.log.read_text())
        before = process.log.read_text().count("configuration loaded")
        path.unlink()
        path.write_text(text + "\n")
        until(lambda: process.log.read_text().count("configuration loaded") > before)
        path.unlink()
        os.mkfifo(path)
        process.popen.send_signal(signal.SIGTERM)

        assert process.popen.wait(PATIENCE) == 0
