"""The lock files and the metadata: what plain pip gets with `--require-hashes`, and nothing of where they were made."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.txt", "requirements-dev.txt")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(lock: str) -> dict[str, str]:
    """The version of each distribution in a lock file; of several, the one for this version of Python."""
    lines = (ROOT / lock).read_text().splitlines()
    found = [Requirement(line.split(" \\")[0]) for line in lines if line and line[0] not in " #"]
    names = [canonicalize_name(each.name) for each in found]
    fits = [
        each.marker is None or each.marker.evaluate() or names.count(name) == 1
        for name, each in zip(names, found, strict=True)
    ]
    chosen = [each for each, fit in zip(found, fits, strict=True) if fit]
    return {canonicalize_name(each.name): str(each.specifier).removeprefix("==") for each in chosen}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_is_exact_and_has_hashes(lock: str) -> None:
    blocks = re.split(r"\n(?=[a-z])", re.sub(r"^#.*\n", "", (ROOT / lock).read_text(), flags=re.M))

    assert all(re.match(r"[a-z0-9.-]+==\S+", block) for block in blocks)
    assert all("--hash=sha256:" in block for block in blocks)


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_index_and_no_place(lock: str) -> None:
    text = (ROOT / lock).read_text()

    assert not re.search(r"^\s*--?(i|f|index-url|extra-index-url|find-links|trusted-host)\b", text, flags=re.M)
    assert "://" not in text
    assert not re.search(r"(^|\s)/\w", text)


def test_the_locks_hold_what_the_project_asks_for() -> None:
    runtime, dev = pins("requirements.txt"), pins("requirements-dev.txt")
    asked = [Requirement(each) for each in PROJECT["dependencies"]]
    asked_dev = [Requirement(each) for each in PROJECT["optional-dependencies"]["dev"]]

    assert [str(each) for each in asked if runtime[canonicalize_name(each.name)] not in each.specifier] == []
    assert [str(each) for each in asked_dev if dev[canonicalize_name(each.name)] not in each.specifier] == []


def unlocked(lock: str, asked: list[str]) -> list[str]:
    """The requirements reachable from `asked` that `lock` does not satisfy, as `package -> requirement`.

    The metadata are those of the installed packages, which came from the lock itself. A package that is not installed
    at its locked version is reported too: its requirements could not be read.
    """
    locked = pins(lock)
    pending = [("signalbox-proxy", Requirement(text)) for text in asked]
    seen: set[tuple[str, str]] = set()
    found = []
    while pending:
        parent, requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        if name not in locked or not requirement.specifier.contains(locked[name], prereleases=True):
            found.append(f"{parent} -> {requirement}")
            continue
        try:
            if version(name) != locked[name]:
                found.append(f"{parent} -> {requirement}: {version(name)} is installed")
                continue
        except PackageNotFoundError:
            found.append(f"{parent} -> {requirement}: not installed")
            continue
        for extra in {"", *requirement.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                wanted = [Requirement(text) for text in requires(name) or []]
                wanted = [each for each in wanted if not each.marker or each.marker.evaluate({"extra": extra})]
                pending += [(name, each) for each in wanted]
    return found


def test_every_requirement_of_every_locked_package_is_locked() -> None:
    asked = PROJECT["dependencies"]

    assert unlocked("requirements.txt", asked) == []
    assert unlocked("requirements-dev.txt", asked + PROJECT["optional-dependencies"]["dev"]) == []


def test_a_requirement_that_is_not_locked_is_found() -> None:
    runtime = PROJECT["dependencies"]

    assert unlocked("requirements.txt", [*runtime, "pytest-cov>=6.0"]) == ["signalbox-proxy -> pytest-cov>=6.0"]
    assert unlocked("requirements.txt", [*runtime, "anyio>=99"]) == ["signalbox-proxy -> anyio>=99"]


def test_a_lock_is_installed_as_it_is() -> None:
    """Without `--no-deps`, pip resolves extras anew and takes versions published after the lock was made."""
    installs = [
        line
        for file in ("Makefile", "Dockerfile")
        for line in (ROOT / file).read_text().splitlines()
        if "--require-hashes" in line
    ]

    assert len(installs) == 3
    assert [line for line in installs if "--no-deps" not in line] == []


def test_tests_run_with_the_versions_that_serve() -> None:
    runtime, dev = pins("requirements.txt"), pins("requirements-dev.txt")

    assert {name: dev.get(name) for name in runtime} == runtime


def test_runtime_dependencies_have_only_a_lower_bound() -> None:
    operators = {each.operator for asked in PROJECT["dependencies"] for each in Requirement(asked).specifier}

    assert operators == {">="}


def test_the_names_of_the_contract() -> None:
    assert PROJECT["name"] == "signalbox-proxy"
    assert PROJECT["requires-python"] == ">=3.11"
    assert PROJECT["scripts"] == {"signalbox": "proxy.cli:main"}
