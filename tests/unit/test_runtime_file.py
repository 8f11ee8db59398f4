"""The runtime file: written and removed by its process, never believed where another user could have written it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from proxy.runtime_file import announced, find, reachable, running_services

CONFIG = Path("/etc/signalbox/signalbox.yaml")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / f"signalbox-{os.getuid()}"


def put(folder: Path, text: str, mode: int = 0o700) -> None:
    folder.mkdir(exist_ok=True)
    folder.chmod(mode)
    (folder / "x.json").write_text(text)


def row(pid: int) -> str:
    return json.dumps({"config": str(CONFIG), "url": "http://127.0.0.1:1", "pid": pid})


def ended() -> int:
    """The id of a process that is gone."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_service_is_found_by_its_configuration() -> None:
    with announced(CONFIG) as announcement:
        assert find(CONFIG) is None  # it does not accept connections yet
        announcement.write("http://0.0.0.0:8080")
        found = find(CONFIG)

    assert found is not None
    assert (found.url, found.pid) == ("http://127.0.0.1:8080", os.getpid())
    assert find(CONFIG) is None


def test_services_of_other_configurations_are_not_found() -> None:
    with announced(CONFIG) as announcement:
        announcement.write("http://127.0.0.1:8080")

        assert find(CONFIG.with_name("other.yaml")) is None


def test_a_configuration_is_found_by_its_other_paths(tmp_path: Path) -> None:
    config, link = tmp_path / "signalbox.yaml", tmp_path / "link.yaml"
    config.touch()
    link.symlink_to(config)

    with announced(link) as announcement:
        announcement.write("http://127.0.0.1:8080")

        assert find(config) is not None
        assert find(config) == find(link)


def test_services_with_one_configuration_have_files_of_their_own(folder: Path) -> None:
    with announced(CONFIG) as announcement:
        put(folder, row(os.getppid()))
        os.utime(folder / "x.json", (1, 1))
        announcement.write("http://127.0.0.1:8080")
        latest = find(CONFIG)

    earlier = find(CONFIG)
    assert latest is not None
    assert latest.pid == os.getpid()
    assert earlier is not None
    assert earlier.pid == os.getppid()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"config": 1}', "\x00", row(0), row(2**40)])
def test_a_file_that_says_nothing_usable_is_ignored(folder: Path, text: str) -> None:
    put(folder, text)

    assert [found for found in running_services() if found.pid != 2**40] == []


def test_a_file_whose_process_is_gone_is_ignored(folder: Path) -> None:
    put(folder, row(ended()))

    assert running_services() == []


def test_files_of_killed_processes_are_removed_by_the_next_one(folder: Path) -> None:
    put(folder, row(ended()))

    with announced(CONFIG) as announcement:
        announcement.write("http://127.0.0.1:8080")

        assert len(list(folder.iterdir())) == 1


def test_a_folder_that_others_can_write_to_is_ignored(folder: Path) -> None:
    put(folder, row(os.getpid()), mode=0o777)

    assert running_services() == []


def test_a_linked_folder_is_ignored(folder: Path, tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", row(os.getpid()))
    folder.symlink_to(tmp_path / "elsewhere")

    assert running_services() == []


def test_a_folder_that_cannot_be_made_does_not_stop_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "not" / "there"))

    with announced(CONFIG) as announcement:
        announcement.write("http://127.0.0.1:8080")
        assert find(CONFIG) is None


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("http://0.0.0.0:80", "http://127.0.0.1:80"),
        ("http://[::]:80", "http://127.0.0.1:80"),
        ("http://10.0.0.1:80", "http://10.0.0.1:80"),
    ],
)
def test_a_wildcard_is_asked_on_loopback(url: str, asked: str) -> None:
    assert reachable(url) == asked
