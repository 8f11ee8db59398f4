"""The configuration that a child process loads for the service."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.config.apart import LoadedApart, pickled
from proxy.config.errors import ConfigError
from proxy.config.load import load

FULL = """
auth:
  mode: keys
  admin_token: adm-0123456789
  pepper: pppppppppppppppppppppppppppppppp
  encryption_key: eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee
providers:
  acme: {base_url: "http://127.0.0.1:1/v1", keys: [{id: main, value: "${ACME}"}, {id: spare, value: "${SPARE}"}]}
  claude: {dialect: anthropic, keys: [sk-ant-0123456789], any_model: true}
models: [{id: acme/large, tier: high}]
agents: {helper: {model: acme/large, instructions: Help.}}
budgets: [{scope: total, usd: 5}]
"""
WAITS = """
import sys
from pathlib import Path
from proxy.config.apart import LoadedApart
loading = LoadedApart(Path(sys.argv[1]), {})
print("loading", flush=True)
loading.result()
"""
SERVES = """
import os, sys
from pathlib import Path
from proxy.config.apart import LoadedApart
loading = LoadedApart(Path(sys.argv[1]), {})
import proxy.server
from proxy.app import build
build(loading.result(), {})
print([name for name in ("pydantic", "yaml", "proxy.config.settings.schema") if name in sys.modules])
"""


def test_settings_in_use_are_not_pickled_twice(tmp_path: Path) -> None:
    path = tmp_path / "signalbox.yaml"
    path.write_text(FULL)
    loaded = load(path, {})
    before = pickled(loaded)
    assert loaded.settings.models

    assert pickled(loaded) == before
    assert not pickle.loads(before).has_settings


def test_it_equals_what_is_loaded_here(tmp_path: Path) -> None:
    path = tmp_path / "signalbox.yaml"
    path.write_text(FULL)
    environ = {"ACME": "sk-acme-0123456789"}

    apart, here = LoadedApart(path, environ, 1).result(), load(path, environ, 1)

    assert apart == here
    assert apart.settings == here.settings
    assert apart.snapshot.auth.carrier_keys == here.snapshot.auth.carrier_keys


def test_the_key_of_carriers_is_that_of_this_process(tmp_path: Path) -> None:
    path = tmp_path / "signalbox.yaml"
    path.write_text("providers: {mock: {dialect: mock}}\n")

    apart = LoadedApart(path, {}).result()

    assert apart.snapshot.auth.carrier_keys == load(path, {}).snapshot.auth.carrier_keys


def test_problems_are_reported_as_here(tmp_path: Path) -> None:
    path = tmp_path / "signalbox.yaml"
    path.write_text("server: {prot: 1}\nmodels: [{id: none/x}]\n")

    with pytest.raises(ConfigError) as here:
        load(path, {})
    with pytest.raises(ConfigError) as apart:
        LoadedApart(path, {}).result()

    assert apart.value.problems == here.value.problems


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"providers: {mock: {dialect: mock}}\n")
    os.close(writing)

    loaded = LoadedApart(Path(f"/dev/fd/{reading}"), {}).result()
    os.close(reading)

    assert loaded.from_pipe
    assert list(loaded.snapshot.providers) == ["mock"]


def test_a_child_that_is_killed_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "signalbox.yaml"
    os.mkfifo(path)  # the child waits for a writer
    loading = LoadedApart(path, {})

    os.kill(loading.child, signal.SIGKILL)

    with pytest.raises(ChildProcessError, match="SIGKILL"):
        loading.result()


def test_no_process_left_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", fork)

    with pytest.raises(ChildProcessError, match="no process can be started"):
        LoadedApart(tmp_path / "signalbox.yaml", {})


def test_the_child_ends_with_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "signalbox.yaml"
    os.mkfifo(path)
    with subprocess.Popen([sys.executable, "-c", WAITS, path], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"loading\n"
        parent.kill()

        assert parent.stdout.read() == b""  # its end: the child, which has it too, has ended


def test_a_service_imports_nothing_that_validates(tmp_path: Path) -> None:
    path = tmp_path / "signalbox.yaml"
    path.write_text(f"data_dir: {tmp_path}\nproviders: {{mock: {{dialect: mock}}}}\n")

    run = subprocess.run([sys.executable, "-c", SERVES, path], capture_output=True, text=True, check=True)

    assert run.stdout == "[]\n"
