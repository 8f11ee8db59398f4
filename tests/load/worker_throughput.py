"""`--workers 2`: at least 1.7 times the throughput of one worker, where each worker has a core of its own.

The load generator and the upstream need processor time too, so that on a machine of two cores the calls a second of two
workers say little. Instead, one worker and two share one core in turn, with the same number of connections for each
worker, while the load generator and the upstream have the others. What two workers need for each call beyond what one
needs, their supervisor included, is what they lose by being two: their throughput on two cores is twice that on one.
The ratio is the median of several rounds.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
from dataclasses import dataclass

from tests.bench.__main__ import pinned
from tests.bench.meter import cpu_seconds, tree
from tests.load.harness import ROOT, Gateway, Options, gateway, lean_config, lean_upstream
from tests.load.report import Report

WORKERS = 2
CONNECTIONS = 16  # of each worker
SECONDS = 3.0  # of each measurement
ROUNDS = 5
RATIO = 1.7
SHORT_FORM = Options(calls=64)


@dataclass(frozen=True)
class Measured:
    """One measurement."""

    answered: int
    failed: int
    rate: float  # calls a second
    processor: float  # seconds for each call, in all processes


async def check(report: Report, options: Options) -> None:
    """Measure one worker and two in turn."""
    single, several = list[Measured](), list[Measured]()
    async with (
        lean_upstream() as url,
        gateway(lean_config(url)) as one,
        gateway(lean_config(url, server={"workers": WORKERS})) as two,
    ):
        for box in (one, two):
            _share_a_core(box)
        for _ in range(1 if options.calls else ROUNDS):
            single.append(await _measure(one, CONNECTIONS, options))
            several.append(await _measure(two, CONNECTIONS * WORKERS, options))
    for name, rows in (("one worker", single), ("two workers", several)):
        report.equal(f"{name}: calls that failed", sum(row.failed for row in rows), 0)
        report.at_least(f"{name}: calls answered", sum(row.answered for row in rows), 1)
        report.figure(f"{name}: processor time for each call", 1e6 * statistics.median(_times(rows)), "us")
        report.figure(f"{name}: calls a second on one core", statistics.median(row.rate for row in rows))
    ratios = (WORKERS * alone / shared for alone, shared in zip(_times(single), _times(several), strict=True))
    report.at_least("throughput of two workers to that of one", statistics.median(ratios), RATIO, full_only=True)


def _times(rows: list[Measured]) -> list[float]:
    return [row.processor for row in rows]


def _share_a_core(box: Gateway) -> None:
    """Keep all processes of Signalbox on the last core."""
    core = max(os.sched_getaffinity(0))
    for process in tree(box.pid):
        for thread in os.listdir(f"/proc/{process}/task"):
            os.sched_setaffinity(int(thread), {core})


async def _measure(box: Gateway, connections: int, options: Options) -> Measured:
    before = cpu_seconds(box.pid)
    command = [*pinned(0), sys.executable, "-m", "tests.bench.client", box.url, "lean/plain"]
    command += ["--connections", str(connections)]
    command += ["--requests", str(options.calls)] if options.calls else ["--seconds", str(options.seconds or SECONDS)]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    found = json.loads(output)
    used = cpu_seconds(box.pid) - before
    return Measured(found["ok"], found["bad"], found["ok"] / found["wall_s"], used / max(1, found["ok"]))
