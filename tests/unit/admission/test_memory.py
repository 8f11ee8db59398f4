"""Memory in use and its limit, from folders like those of a real system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxy.admission.memory import SHARE, ContainerMemory, ProcessMemory, limited_cgroups, memory_source, resident

MIB = 1024 * 1024
V2 = "sys/fs/cgroup"
V1 = "sys/fs/cgroup/memory"


def put(root: Path, text: str, *path: str) -> None:
    file = root.joinpath(*path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def version_2(root: Path, path: str, **files: object) -> None:
    put(root, f"0::{path}\n", "proc/self/cgroup")
    for name, value in files.items():
        put(root, f"{value}\n", V2, path.strip("/"), name.replace("_", ".", 1))


def version_1(root: Path, path: str, limit: int, used: int, stat: str = "") -> None:
    put(root, f"9:cpu,cpuacct:/x\n4:memory:{path}\n0::/\n", "proc/self/cgroup")
    put(root, str(limit), V1, path.strip("/"), "memory.limit_in_bytes")
    put(root, str(used), V1, path.strip("/"), "memory.usage_in_bytes")
    put(root, stat, V1, path.strip("/"), "memory.stat")


def read(root: Path) -> tuple[int, int]:
    return ContainerMemory(limited_cgroups(root)).read()


def test_the_limit_of_version_2_is_read(tmp_path: Path) -> None:
    stat = f"anon 1\nactive_file {10 * MIB}\ninactive_file {5 * MIB}\nshmem 9\n"
    version_2(tmp_path, "/", memory_max=256 * MIB, memory_high="max", memory_current=200 * MIB, memory_stat=stat)

    assert read(tmp_path) == (185 * MIB, int(256 * MIB * SHARE))


def test_the_limit_of_version_1_is_read(tmp_path: Path) -> None:
    stat = f"total_rss 1\ntotal_active_file {MIB}\ntotal_inactive_file {MIB}\nactive_file 7\n"
    version_1(tmp_path, "/docker/abc", 256 * MIB, 100 * MIB, stat)

    assert read(tmp_path) == (98 * MIB, int(256 * MIB * SHARE))


def test_a_lower_high_counts_because_it_slows_the_process_down(tmp_path: Path) -> None:
    version_2(tmp_path, "/", memory_max=256 * MIB, memory_high=100 * MIB, memory_current=MIB)

    assert read(tmp_path) == (MIB, int(100 * MIB * SHARE))


def test_an_ancestor_nearer_to_its_limit_counts(tmp_path: Path) -> None:
    version_2(tmp_path, "/slice/service", memory_max=100 * MIB, memory_current=10 * MIB)
    put(tmp_path, str(200 * MIB), V2, "slice/memory.max")
    put(tmp_path, str(190 * MIB), V2, "slice/memory.current")

    assert read(tmp_path) == (190 * MIB, int(200 * MIB * SHARE))


@pytest.mark.parametrize("path", ["/kubepods/pod1/c1", "/../../c1"])
def test_a_container_sees_its_own_cgroup_at_the_root(tmp_path: Path, path: str) -> None:
    version_2(tmp_path, "/", memory_max=100 * MIB, memory_current=10 * MIB)
    put(tmp_path, f"0::{path}\n", "proc/self/cgroup")

    assert read(tmp_path) == (10 * MIB, int(100 * MIB * SHARE))


@pytest.mark.parametrize("limit", [2**63 - 4096, 2**60])
def test_the_number_for_no_limit_is_none(tmp_path: Path, limit: int) -> None:
    version_1(tmp_path, "/", limit, MIB)

    assert list(limited_cgroups(tmp_path)) == []


def test_without_a_limit_and_without_a_size_nothing_is_watched(tmp_path: Path) -> None:
    version_2(tmp_path, "/", memory_max="max", memory_high="max", memory_current=MIB)

    assert memory_source(0, lambda: ("self",), tmp_path) is None
    assert memory_source(0, lambda: ("self",), tmp_path / "nothing") is None


def test_a_size_beats_the_limit(tmp_path: Path) -> None:
    version_2(tmp_path, "/", memory_max=100 * MIB, memory_current=10 * MIB)

    source = memory_source(300 * MIB, lambda: ("self",), tmp_path)

    assert source is not None
    assert source.read().watermark == 300 * MIB
    assert source.read().used > MIB


def test_the_memory_of_all_processes_is_added() -> None:
    one = ProcessMemory(MIB).read().used
    two = ProcessMemory(MIB, lambda: (os.getpid(), os.getpid())).read().used

    assert one > MIB
    assert two > 1.5 * one


def test_a_process_that_has_ended_uses_nothing() -> None:
    assert resident(2**30) == 0


def test_without_any_process_there_is_no_reading() -> None:
    with pytest.raises(OSError, match="/proc"):
        ProcessMemory(MIB, lambda: (2**30,)).read()
