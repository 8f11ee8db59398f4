"""A disk that is full in mid-load: calls go on or are rejected, as `dependencies.store.fail` says, and nothing is lost.

`data_dir`, with SQLite and the journal, is on a small file system in memory, which is filled and emptied again.
Mounting one needs root. With `closed`, calls are served until the space that the journal has reserved is used.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.load.client import at_rate, chat_body, request_bytes
from tests.load.harness import Gateway, Options, Upstreams, gateway, until, upstreams
from tests.load.report import Report

RATE = 50.0
SECONDS = 5.0  # of each phase
SIZE = "64m"
NANO = 10**9
INPUT = 7000  # nano-dollars of an answer: seven tokens at a dollar a million
WITHIN = 10.0  # seconds in which the records are stored after there is space again
AGAIN = 1.0  # seconds after which calls are served again


async def check(report: Report, options: Options) -> None:
    """Once with each policy."""
    seconds = options.seconds or SECONDS
    with tempfile.TemporaryDirectory(prefix="signalbox-load-") as folder:
        for policy in ("open", "closed"):
            with _small(Path(folder)) as is_mounted:
                if not is_mounted:
                    report.note("a small file system cannot be mounted: skipped")
                    return
                async with upstreams("up") as up, gateway(_configuration(up, folder, policy)) as box:
                    await _on(report, box, up, Path(folder), policy, seconds)


async def _on(report: Report, box: Gateway, up: Upstreams, folder: Path, policy: str, seconds: float) -> None:
    before = await _drive(box, seconds)
    with _filled(folder):
        during = await _drive(box, seconds)
    again = await _drive(box, AGAIN)
    after = await _drive(box, seconds)
    served = Counter({200: round(RATE * seconds)})
    report.equal(f"{policy}: answers before", before, served)
    report.figure(f"{policy}: answers while the disk is full", dict(during))
    if policy == "open":
        report.equal(f"{policy}: calls that failed", sum(during.values()) - during[200] + again.total() - again[200], 0)
    else:
        report.at_least(f"{policy}: calls rejected while the disk is full", during[503], 1)
        report.equal(f"{policy}: neither served nor 503", during.total() - during[200] - during[503], 0)
    report.equal(f"{policy}: answers after that", after, served)
    arrived = len(await up.log())
    database = folder / "data" / "signalbox.db"

    async def stored() -> bool:
        return _rows(database, "SELECT count(*) FROM attempts") == arrived

    await until(stored, WITHIN)
    report.equal(f"{policy}: records of attempts, and requests upstream", _rows(database, _ATTEMPTS), arrived)
    report.equal(f"{policy}: attempts recorded twice", _rows(database, _DOUBLED), 0)
    [row] = await box.rows("budgets")
    report.equal(f"{policy}: spent in the budget", round(row["spent_usd"] * NANO), INPUT * arrived)
    box.read()
    times = [event["time"][:19] for event in box.events]
    report.at_most(f"{policy}: most log lines in a second", max(map(times.count, times), default=0), 10)


async def _drive(box: Gateway, seconds: float) -> Counter[int]:
    client, statuses = box.client(10.0), Counter[int]()
    request = request_bytes("POST", "/v1/chat/completions", chat_body("up/model", max_tokens=10))

    async def call(_: int) -> None:
        statuses[(await client.call(request)).status] += 1

    await at_rate(RATE, seconds, call)
    client.close()
    return statuses


def _configuration(up: Upstreams, folder: str, policy: str) -> dict[str, Any]:
    return {
        "store": "sqlite",
        "data_dir": f"{folder}/data",
        "dependencies": {"store": {"fail": policy}},
        "providers": {"up": {"base_url": up.url("up")}},
        "models": [{"id": "up/model", "price": {"input": 1, "output": 0}}],
        "budgets": [{"scope": "total", "usd": 1000, "period": "total"}],
    }


@contextmanager
def _small(folder: Path) -> Iterator[bool]:
    """Mount a small file system; yields whether that was possible."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    try:
        is_mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        is_mounted = False
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def _filled(folder: Path) -> Iterator[None]:
    """Fill a file system to the last byte."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1 << 20, 1 << 12, 1 << 9):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass
    try:
        yield
    finally:
        os.unlink(path)


_ATTEMPTS = "SELECT count(*) FROM attempts"
_DOUBLED = "SELECT count(*) - count(DISTINCT id) FROM attempts"


def _rows(database: Path, query: str) -> int:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return int(connection.execute(query).fetchone()[0])
    finally:
        connection.close()
