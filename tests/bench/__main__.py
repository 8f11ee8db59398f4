"""`make bench`: what a call costs beside nginx, in the same rounds.

    python -m tests.bench [--rounds N] [--seconds S] [--targets signalbox,nginx] [--workloads ns16,st50] [--json FILE]

The targets take turns on one core; the upstream and the load generator have another. Each target is measured once a
round, in reverse order in every second round: machines drift, ratios of the same round do not. CPU time is that of the
target's whole process tree, kernel time included. A row with failed requests says so.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import path
from tests.bench.meter import cpu_seconds, resident_bytes
from tests.bench.targets import ROOT, Target, available

UPSTREAM_PORT = 9310
FIRST_PORT = 9311


@dataclass(frozen=True)
class Workload:
    """One kind of load; `unit` is what CPU time is divided by."""

    model: str
    connections: int
    body: str = "small"
    events: int = 0
    requests: int = 0  # 0: as many as fit into the seconds of a measurement
    ramp: float = 0.0

    @property
    def unit(self) -> str:
        """`request` or `event`."""
        return "event" if self.events else "request"


WORKLOADS = {
    "ns1": Workload("bench", 1),
    "ns16": Workload("bench", 16),
    "big16": Workload("bench", 16, body="big"),
    "st0": Workload("bench-64-0", 16, events=64),
    "st50": Workload("bench-64-50", 200, events=64, requests=200, ramp=1.0),
    "st5": Workload("bench-64-5", 200, events=64, requests=400, ramp=0.2),
}


@dataclass
class Running:
    """A started target."""

    target: Target
    port: int
    pid: int
    ready_seconds: float
    idle_bytes: int = 0


def pinned(core: int) -> list[str]:
    """The words in front of a command that keep it on one core, where there are two and `taskset`."""
    return ["taskset", "-c", str(core)] if shutil.which("taskset") and (os.cpu_count() or 1) > 1 else []


@contextmanager
def process(command: list[str], environ: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a session of its own, ended with all its children."""
    with log.open("wb") as out:
        popen = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        yield popen
    finally:
        try:
            os.killpg(popen.pid, signal.SIGTERM)
            popen.wait(10)
        except ProcessLookupError:
            pass
        except subprocess.TimeoutExpired:
            os.killpg(popen.pid, signal.SIGKILL)
            popen.wait(10)


def wait_for(port: int, ready: str, popen: subprocess.Popen[bytes], seconds: float) -> float:
    """Seconds until `ready` is answered. Raises `RuntimeError` if the process ends or does not answer."""
    began = time.perf_counter()
    while time.perf_counter() - began < seconds and popen.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", ready)
            if connection.getresponse().status < 500:
                return time.perf_counter() - began
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.005)  # noqa: TID251, a benchmark has no clock of its own
    raise RuntimeError(f"nothing answers on port {port}")


def load(running: Running | None, workload: Workload, seconds: float) -> dict[str, Any]:
    """One measurement of a target, or of the upstream itself."""
    port, prefix = (running.port, running.target.prefix) if running else (UPSTREAM_PORT, "")
    url, model = f"http://127.0.0.1:{port}", prefix + workload.model
    command = [*pinned(0), sys.executable, "-m", "tests.bench.client", url, model, "--body", workload.body]
    command += [
        "--connections",
        str(workload.connections),
        "--stream",
        str(workload.events),
        "--ramp",
        str(workload.ramp),
    ]
    command += ["--requests", str(workload.requests)] if workload.requests else ["--seconds", str(seconds)]
    before = cpu_seconds(running.pid) if running else 0.0
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    used = cpu_seconds(running.pid) - before if running else 0.0
    found: dict[str, Any] = json.loads(done.stdout)
    count = found["events"] if workload.events else found["ok"]
    return {**found, "cpu_us": used / max(1, count) * 1e6, "memory": resident_bytes(running.pid) if running else 0}


def table(results: dict[str, dict[str, list[dict[str, Any]]]], running: list[Running]) -> str:
    """Medians, and ratios to nginx as the median of each round's ratio."""
    lines = [
        "| workload | target | CPU us | to nginx | latency p50 / p99 us | delay of an event p50 / p99 us | failed |"
    ]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for name, by_target in results.items():
        yardstick = by_target.get("nginx")
        for target, rows in by_target.items():
            cpu = statistics.median(row["cpu_us"] for row in rows)
            pairs = zip(rows, yardstick, strict=True) if yardstick else ()
            ratios = [row["cpu_us"] / base["cpu_us"] for row, base in pairs if base["cpu_us"]]
            ratio = f"{statistics.median(ratios):.1f}" if ratios and target != "direct" else ""
            latency = _percentiles(rows, "latency_us")
            delay = _percentiles(rows, "delay_us") if WORKLOADS[name].events else ""
            failed = sum(row["bad"] for row in rows)
            shown = f"{cpu:.1f} an {WORKLOADS[name].unit}" if target != "direct" else ""
            lines.append(f"| {name} | {target} | {shown} | {ratio} | {latency} | {delay} | {failed} |")
    lines += ["", "| target | ready, s | idle memory, MiB |", "| --- | --- | --- |"]
    lines += [f"| {r.target.name} | {r.ready_seconds:.2f} | {r.idle_bytes / 2**20:.0f} |" for r in running]
    return "\n".join(lines)


def _percentiles(rows: list[dict[str, Any]], name: str) -> str:
    return " / ".join(f"{statistics.median(row[name].get(part, 0) for row in rows):,.0f}" for part in ("p50", "p99"))


def bench(options: argparse.Namespace) -> dict[str, Any]:
    """Start everything, measure in rounds, and print the tables."""
    makers = available()
    if "nginx" not in makers:
        sys.stderr.write("nginx is not installed: there is no yardstick, and no ratio\n")
    names = options.targets.split(",") if options.targets else list(makers)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        command = [*pinned(0), sys.executable, "-m", "tests.bench.upstream", str(UPSTREAM_PORT)]
        upstream = stack.enter_context(process(command, {}, folder / "upstream.log"))
        wait_for(UPSTREAM_PORT, "/ready", upstream, 20)
        running: list[Running] = []
        for port, name in enumerate(names, FIRST_PORT):
            own = folder / name
            own.mkdir()
            target = makers[name](port, UPSTREAM_PORT, own)
            popen = stack.enter_context(process([*pinned(1), *target.command], target.environ, own / "log"))
            running.append(Running(target, port, popen.pid, wait_for(port, target.ready, popen, 120)))
            running[-1].idle_bytes = resident_bytes(popen.pid)
        results = measured(running, options)
    return {"results": results, "targets": [(r.target.name, r.ready_seconds, r.idle_bytes) for r in running]} | {
        "table": table(results, running)
    }


def measured(running: list[Running], options: argparse.Namespace) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """All rounds: workload -> target -> one row a round."""
    workloads = options.workloads.split(",") if options.workloads else list(WORKLOADS)
    results: dict[str, dict[str, list[dict[str, Any]]]] = {name: {} for name in workloads}
    for each in running:  # first connections, lazy imports
        load(each, WORKLOADS["ns16"], 0.3)
        load(each, WORKLOADS["st0"], 0.3)
    for number in range(options.rounds):
        for name in workloads:
            for each in running if number % 2 == 0 else reversed(running):
                row = load(each, WORKLOADS[name], options.seconds)
                results[name].setdefault(each.target.name, []).append(row)
            results[name].setdefault("direct", []).append(load(None, WORKLOADS[name], options.seconds))
        sys.stderr.write(f"round {number + 1} of {options.rounds}\n")
    return results


def main() -> None:
    """Measure, print, and keep the JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="of one measurement")
    parser.add_argument("--targets", default="", help="names, comma-separated; default: all that can run here")
    parser.add_argument("--workloads", default="", help=f"of {', '.join(WORKLOADS)}; default: all")
    parser.add_argument("--json", type=Path, help="a file for the results")
    options = parser.parse_args()
    found = bench(options)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    sys.stdout.write(found["table"] + "\n\n")
    path.main([])


if __name__ == "__main__":
    main()
