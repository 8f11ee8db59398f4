"""The daily sums of calls, one file of JSON for each day (UTC). Several processes add to the same file."""

from __future__ import annotations

import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxy.core.money import usd

MOST_NAMES = 1000  # in a group; the others count as `other`
MOST_FILES = 400
GROUPS = ("route", "tier", "provider", "model", "error")


@dataclass
class DaySums:
    """The sums of a day, or what is added to them."""

    total: int = 0
    successful: int = 0
    cache_hits: int = 0
    cost_nusd: int = 0
    success_ms: float = 0.0  # the latency of all successful calls
    groups: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in GROUPS})

    def add(self, *, success: bool, seconds: float, cost_nusd: int, cache_hit: bool, names: dict[str, str]) -> None:
        """Add a call; `names` has those of `GROUPS` that it belongs to."""
        self.total += 1
        self.successful += success
        self.cache_hits += cache_hit
        self.cost_nusd += cost_nusd
        if success:
            self.success_ms += seconds * 1000
        for group, name in names.items():
            self._count(group, name, 1)

    def merge(self, other: DaySums) -> None:
        """Add other sums."""
        self.total += other.total
        self.successful += other.successful
        self.cache_hits += other.cache_hits
        self.cost_nusd += other.cost_nusd
        self.success_ms += other.success_ms
        for group, counts in other.groups.items():
            for name, number in counts.items():
                self._count(group, name, number)

    def as_json(self, date: str) -> dict[str, Any]:
        """Return the content of the file of a day."""
        mean = self.success_ms / self.successful if self.successful else None
        return {
            "date": date,
            "total": self.total,
            "successful": self.successful,
            **{f"by_{group}": dict(self.groups[group]) for group in GROUPS if group != "error"},
            "errors": dict(self.groups["error"]),
            "cost_usd": usd(self.cost_nusd),
            "mean_latency_ms": None if mean is None else round(mean, 1),
            "cache_hits": self.cache_hits,
            "sums": {"cost_nusd": self.cost_nusd, "success_ms": round(self.success_ms, 3)},
        }

    def _count(self, group: str, name: str, number: int) -> None:
        counts = self.groups[group]
        counts[name if name in counts or len(counts) < MOST_NAMES else "other"] += number


def read_sums(content: bytes) -> DaySums:
    """Return the sums in a file; none if it is damaged."""
    sums = DaySums()
    with suppress(ValueError, TypeError, KeyError, AttributeError):
        value = json.loads(content)
        read = DaySums(
            int(value["total"]),
            int(value["successful"]),
            int(value["cache_hits"]),
            int(value["sums"]["cost_nusd"]),
            float(value["sums"]["success_ms"]),
        )
        for group in GROUPS:
            counts = value["errors" if group == "error" else f"by_{group}"]
            read.groups[group] = Counter({str(name): int(number) for name, number in counts.items()})
        sums = read
    return sums


def add_to_file(folder: Path, date: str, sums: DaySums) -> None:
    """Add sums to the file of a day, which is replaced as a whole. Raises `OSError`."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path, draft = folder / f"daily-{date}.json", folder / f".daily-{date}.json"
    lock = os.open(folder / ".daily.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        whole = read_sums(path.read_bytes()) if path.exists() else DaySums()
        whole.merge(sums)
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(whole.as_json(date), file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        _prune(folder.glob("daily-*.json"))
    finally:
        os.close(lock)


def _prune(paths: Iterable[Path]) -> None:
    for path in sorted(paths)[:-MOST_FILES]:
        path.unlink(missing_ok=True)
