"""CPU time and memory of a process and its descendants, from Linux's `/proc`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")


def tree(pid: int) -> Iterator[int]:
    """`pid` and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it has ended since
            children.setdefault(parent, []).append(int(entry.name))
    pending = [pid]
    while pending:
        yield (current := pending.pop())
        pending += children.get(current, [])


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of the tree so far, user and system, in seconds."""
    nanoseconds = 0
    for process in tree(pid):
        for thread in _threads(process):
            try:
                nanoseconds += int((thread / "schedstat").read_text().split()[0])
            except OSError:
                continue
    return nanoseconds / 1e9


def resident_bytes(pid: int) -> int:
    """Resident memory of the tree, in bytes."""
    pages = 0
    for process in tree(pid):
        try:
            pages += int((PROC / str(process) / "statm").read_text().split()[1])
        except OSError:
            continue
    return pages * os.sysconf("SC_PAGE_SIZE")


def _threads(pid: int) -> list[Path]:
    try:
        return list((PROC / str(pid) / "task").iterdir())
    except OSError:
        return []
