"""The two commands of a newcomer, as far as they can be tried without making a second environment."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = (".ci/run", ".ci/venv", "tests/setup.sh")


def run(*command: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_is_sound_bash(script: str) -> None:
    assert run("bash", "-n", script).returncode == 0


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_every_target_is_explained() -> None:
    targets = (ROOT / "Makefile").read_text().split(".PHONY:")[1].splitlines()[0].split()

    explained = run("make", "help").stdout

    assert [target for target in targets if target != "help" and f"make {target} " not in explained] == []


def test_continuous_integration_runs_developer_commands_only() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()

    commands = [line for line in lines if line and not line.startswith(("#", "set ", "cd ", "export "))]

    assert commands == ["make check", "make test", "make coverage"]


def test_a_broken_interpreter_is_rejected_with_advice(tmp_path: Path) -> None:
    fake = tmp_path / "python3"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)

    refused = run("bash", ".ci/venv", str(tmp_path / "venv"), env={"PATH": "/usr/bin:/bin", "PYTHON": str(fake)})

    assert refused.returncode == 1
    assert "older than Python 3.11" in refused.stderr
    assert not (tmp_path / "venv").exists()


def test_no_interpreter_at_all_is_refused_with_what_to_do(tmp_path: Path) -> None:
    refused = run("bash", ".ci/venv", str(tmp_path / "venv"), env={"PATH": "/usr/bin:/bin"})

    assert refused.returncode == 1
    assert "Python 3.11 or newer" in refused.stderr
