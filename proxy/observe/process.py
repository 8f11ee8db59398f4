"""Metrics of the process itself, under the names that Prometheus' client libraries use.

CPU and garbage collections are known on every system; memory, descriptors and the start only where there is `/proc`.
"""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from proxy.observe.exposition import Combine, Family, Kind, series

_GENERATIONS = (
    ("collected", "python_gc_objects_collected_total", "Objects that the garbage collector has freed."),
    ("uncollectable", "python_gc_objects_uncollectable_total", "Objects that the garbage collector could not free."),
    ("collections", "python_gc_collections_total", "Runs of the garbage collector."),
)


def process_families() -> Iterator[Family]:
    """Yield CPU, memory, file descriptors and garbage collections of this process."""
    times = os.times()
    yield _one("process_cpu_seconds_total", "CPU time in seconds.", times.user + times.system, kind="counter")
    with suppress(OSError, ValueError):
        virtual, resident = memory()
        yield _one("process_virtual_memory_bytes", "Address space.", virtual)
        yield _one("process_resident_memory_bytes", "Memory in use.", resident)
        yield _one("process_start_time_seconds", "When the process started, as a Unix time.", _started(), "min")
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield _one("process_max_fds", "The maximum number of open file descriptors.", most, "min")
    with suppress(OSError):
        count = len(os.listdir("/proc/self/fd"))
        yield _one("process_open_fds", "Open file descriptors.", count, "max")
    stats = gc.get_stats()
    for field, name, text in _GENERATIONS:
        values = {series(name, [("generation", str(number))]): stat[field] for number, stat in enumerate(stats)}
        yield Family(name, "counter", text, {name: float(value) for name, value in values.items()})


def memory(pid: int | str = "self") -> tuple[int, int]:
    """Return the address space and the resident memory of a process in bytes. Raises `OSError` without `/proc`."""
    virtual, resident, *_ = Path(f"/proc/{pid}/statm").read_bytes().split()
    page = resource.getpagesize()
    return int(virtual) * page, int(resident) * page


def _started() -> float:
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    booted = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    return float(booted.split()[1]) + int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _one(name: str, text: str, value: float, combine: Combine = "sum", kind: Kind = "gauge") -> Family:
    return Family(name, kind, text, {name: value}, combine)
