"""`kill -9` while `state.json` is being saved, again and again: the next start reads a whole file, and goes on.

The processes are the real server, but for one thing: they save all the time, and not every few seconds. Some of them
end by their own hand at a chosen point of a save.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support import upstreams
from tests.support.boxes import ADMIN, Box
from tests.support.servers import ROOT
from tests.support.upstreams import Upstream, refuse
from tests.support.waiting import PATIENCE, until

KILLS = 10
CHURNING = 300  # open breakers of `churn` at most, however fast the machine: far fewer than are ever kept
DOWN = ["down/a", "down/b", "down/c"]
NAMES = {f"{name}#-" for name in DOWN}  # of their breakers

# The server, which saves without a pause, and dies when it is at `POINT` of a save for the fifth time, if there is one.
LAUNCHER = """
import io, os, signal, sys
from proxy.cli import main
from proxy.upstream import persist

point, left = os.environ["POINT"], 5
persist.SAVE_INTERVAL_SECONDS = 0.0

def arrived(name):
    global left
    left -= name == point
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

def watched(name):
    function = getattr(os, name)
    def call(*arguments, **more):
        arrived("before " + name)
        result = function(*arguments, **more)
        arrived("after " + name)
        return result
    return call

class Slow(io.BufferedWriter):
    def write(self, data):
        arrived("before writing")
        written = super().write(data[: len(data) // 2])
        self.flush()
        arrived("in the middle of writing")
        return written + super().write(data[len(data) // 2 :])

persist.open = lambda file, mode: Slow(io.FileIO(file, mode)) if mode == "wb" else open(file, mode)
os.fsync, os.replace = watched("fsync"), watched("replace")
sys.exit(main())
"""
POINTS = ["in the middle of writing", "before fsync", "before replace", "after replace"]


@dataclass
class Saving:
    """A server that saves all the time."""

    box: Box
    popen: subprocess.Popen[str]
    log: Path
    state: Path

    @property
    def beside(self) -> Path:
        """Where the next file is written."""
        return self.state.with_name("state.json.tmp")

    def kill(self) -> None:
        """As the kernel does when memory is short."""
        self.popen.kill()
        assert self.popen.wait(PATIENCE) == -signal.SIGKILL

    def next_save(self) -> None:
        """Wait until another file has been renamed."""
        before = self.number()
        until(lambda: self.number() != before)

    def number(self) -> tuple[int, int]:
        """What tells a file from the one before it."""
        found = os.stat(self.state) if self.state.exists() else None
        return (found.st_ino, found.st_mtime_ns) if found else (0, 0)

    def open(self) -> set[str]:
        """The breakers that are open."""
        return {name for name, (state, _) in self.box.breakers().items() if state == "open"}

    def warnings(self) -> list[str]:
        """What the log says of saved state."""
        return [line for line in self.log.read_text().splitlines() if "state" in json.loads(line)["event"]]


def configuration(url: str, nowhere: str, folder: Path) -> dict[str, Any]:
    """What fails once stays open for longer than any test; `churn` always fails."""
    return {
        "data_dir": str(folder / "data"),
        "store": "none",
        "auth": {"admin_token": "admin"},
        "providers": {"down": {"base_url": url}, "churn": {"base_url": nowhere, "any_model": True}},
        "models": [{"id": name} for name in [*DOWN, "down/up"]],
        "routing": {"scenarios": {"all": [*DOWN, "down/up"]}},
        "logs": {"access": False},
        "resilience": {"breaker": {"consecutive": 1, "open": "1d", "max_open": "1d"}, "retry": {"same_target": 0}},
    }


@contextmanager
def saving(config: dict[str, Any], folder: Path, point: str = "") -> Iterator[Saving]:
    """The process; its log begins anew."""
    path, log = folder / "signalbox.yaml", folder / "log"
    path.write_text(yaml.safe_dump(config))
    arguments = [sys.executable, "-c", LAUNCHER, "serve", "--port", "0", "--config", str(path)]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "POINT": point}
    with (
        log.open("w") as output,
        subprocess.Popen(arguments, cwd=folder, env=env, stdout=output, stderr=subprocess.PIPE, text=True) as popen,
        httpx.Client(trust_env=False, timeout=PATIENCE) as http,
    ):
        try:
            assert popen.stderr is not None
            found = next((match for line in popen.stderr if (match := re.search(r"(http://\S+)/v1", line))), None)
            assert found is not None, f"it did not start: {log.read_text()}"
            yield Saving(Box(found[1], http), popen, log, folder / "data" / "state.json")
        finally:
            popen.kill()


@contextmanager
def churning(box: Box, numbers: Iterator[int]) -> Iterator[None]:
    """Breakers open and are closed all the time meanwhile, so that there is always something new to save."""
    over = threading.Event()

    def churn() -> None:
        with httpx.Client(trust_env=False, timeout=PATIENCE) as http:
            try:
                while not over.is_set():
                    number = next(numbers)
                    body = {"model": f"churn/{number}", "messages": [{"role": "user", "content": "hi"}]}
                    http.post(f"{box.url}/v1/chat/completions", json=body)
                    for old in (number - CHURNING, *([number - 3] if number % 3 == 0 else [])):
                        closed = {"provider": "churn", "model": str(old)}
                        http.post(f"{box.url}/admin/breakers/reset", json=closed, headers=ADMIN)
            except httpx.HTTPError:
                pass  # it was killed

    thread = threading.Thread(target=churn, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(PATIENCE)


def saved(state: Path) -> set[str]:
    """The breakers that are open by the file, which is whole."""
    values = json.loads(state.read_bytes())
    rows = values["health"]["breakers"]
    return {f"{row['provider']}/{row['model']}#{row['key']}" for row in rows if row["state"] == "open"}


@pytest.fixture(scope="module")
def nobody() -> Iterator[str]:
    """An address where nobody listens."""
    with upstreams.refusing() as url:
        yield url


@pytest.fixture(scope="module")
def seed(module_upstream: Upstream, nobody: str, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file that a server has left in whose life everything of `DOWN` failed."""
    folder = tmp_path_factory.mktemp("seed")
    with saving(configuration(module_upstream.url, nobody, folder), folder) as server:
        for name in DOWN:
            module_upstream.script(name.partition("/")[2], refuse(500))
            server.box.ask(name)
        until(lambda: server.open() == NAMES and server.state.exists() and saved(server.state) == NAMES)
        server.kill()
        return server.state.read_bytes()


@pytest.fixture
def folder(seed: bytes, tmp_path: Path) -> Path:
    """A folder with that file."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "state.json").write_bytes(seed)
    return tmp_path


@pytest.mark.timeout(240)  # it starts eleven processes
def test_a_server_killed_while_saving_restores_what_was_saved(
    module_upstream: Upstream, nobody: str, folder: Path
) -> None:
    numbers, chance, before = itertools.count(), random.Random(9), len(module_upstream.models)
    config = configuration(module_upstream.url, nobody, folder)
    expected, lost, warned, files = NAMES, [], [], []

    for _ in range(KILLS):
        with saving(config, folder) as server:
            lost.append(expected - server.open())
            with churning(server.box, numbers):
                for _ in range(chance.randint(2, 12)):
                    server.next_save()
                server.kill()
            expected = saved(server.state)
            warned += server.warnings()
            files.append(expected)
    with saving(config, folder) as server:
        lost.append(expected - server.open())
        warned += server.warnings()
        fallen = server.box.ask("scenario/all")

    assert lost == [set()] * (KILLS + 1)
    assert expected >= NAMES
    assert warned == []
    assert files[-1] - files[0]  # they went on saving, whatever the one before had left
    assert fallen.status_code == 200
    assert module_upstream.models[before:] == ["up"]  # nobody has asked again what is down


@pytest.mark.parametrize("point", POINTS)
def test_a_save_may_end_at_any_point(module_upstream: Upstream, nobody: str, folder: Path, point: str) -> None:
    config = configuration(module_upstream.url, nobody, folder)

    with saving(config, folder, point) as server, churning(server.box, itertools.count()):
        assert server.popen.wait(PATIENCE) == -signal.SIGKILL
    expected = saved(server.state)
    left_beside = server.beside.exists()
    with saving(config, folder) as server:
        found = server.open()
        with churning(server.box, itertools.count(1000)):
            for _ in range(3):
                server.next_save()
        warned = server.warnings()

    assert left_beside == (point != "after replace")
    assert found == expected >= NAMES
    assert warned == []


@pytest.mark.parametrize("rubbish", [b"", b'{"version": 1, "hea', b"\0" * 4096], ids=["nothing", "half", "zeros"])
def test_what_is_left_beside_the_file_is_never_read(
    module_upstream: Upstream, nobody: str, folder: Path, rubbish: bytes
) -> None:
    beside = folder / "data" / "state.json.tmp"
    beside.write_bytes(rubbish)
    beside.chmod(0o400)

    with saving(configuration(module_upstream.url, nobody, folder), folder) as server:
        found = server.open()
        server.box.ask("churn/1")
        until(lambda: "churn/1#-" in server.open() & saved(server.state))
        warned = server.warnings()

    assert found == NAMES
    assert warned == []
