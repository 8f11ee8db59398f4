"""The logs of calls in files: the request log (`logs.requests`) and the daily sums (`logs.daily`).

A call only appends its values to a list; a background service formats and writes them in a thread.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Literal

from proxy.core.background import in_thread
from proxy.core.clock import Clock
from proxy.core.record import Outcome, Record
from proxy.settle.daily import DaySums, add_to_file
from proxy.settle.dated_files import DatedFiles
from proxy.settle.request_line import COLUMNS, RequestLine, csv_lines, error_type, request_line

_LOG = logging.getLogger(__name__)
FOLDER = "logs"  # in `data_dir`
WRITE_SECONDS = 1.0  # between two writes
MOST_LINES = 20_000  # that wait to be written
Format = Literal["none", "jsonl", "csv"]


class CallLogs:
    """Writes the logs of calls. A background service."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._lines: list[tuple[Format, RequestLine]] = []
        self._days: dict[str, DaySums] = {}
        self._dropped = 0  # lines, since the last report
        self._failing = False
        self._wake = asyncio.Event()
        self._files = {
            "jsonl": DatedFiles(folder, "requests", "jsonl"),
            "csv": DatedFiles(folder, "requests", "csv", header=csv_lines([list(COLUMNS)])),
        }

    def note(self, record: Record, seconds: float, route: str, *, requests: Format, daily: bool) -> None:
        """Take a call that took `seconds`; `route` is its label, which clients cannot invent."""
        time = self._clock.time()
        if requests != "none":
            if len(self._lines) < MOST_LINES:
                self._lines.append((requests, request_line(record, time, seconds)))
            else:
                self._dropped += 1
        if daily:
            self._add(record, time, seconds, route)
        if not self._wake.is_set():
            self._wake.set()

    async def run(self) -> None:
        """Write what has collected, until cancelled, and then the rest."""
        try:
            while True:
                await self._wake.wait()
                await self._clock.sleep(WRITE_SECONDS)
                self._wake.clear()
                await self._write()
        finally:
            await self._write()

    def _add(self, record: Record, time: float, seconds: float, route: str) -> None:
        date = _date(time)
        sums = self._days.get(date)
        if sums is None:
            sums = self._days[date] = DaySums()
        names, chosen = {"route": route}, record.chosen
        if chosen is not None:
            names |= {"provider": chosen.labels[0], "model": "/".join(chosen.labels), "tier": chosen.tier or "none"}
        success = record.outcome is Outcome.OK
        if not success:
            names["error"] = error_type(record)
        sums.add(success=success, seconds=seconds, cost_nusd=record.cost_nusd or 0, cache_hit=False, names=names)

    async def _write(self) -> None:
        """Write what has collected; also if this is cancelled, all of it."""
        lines, self._lines = self._lines, []
        days, self._days = self._days, {}
        dropped, self._dropped = [self._dropped], 0
        try:
            await in_thread(self._write_all, lines, days, dropped)
        finally:
            for date, sums in days.items():  # what is left could not be written, and is added to the next write
                self._days.setdefault(date, DaySums()).merge(sums)
        if sum(dropped):
            _LOG.warning("lines of the request log were dropped", extra={"fields": {"lines": sum(dropped)}})

    def _write_all(self, lines: list[tuple[Format, RequestLine]], days: dict[str, DaySums], dropped: list[int]) -> None:
        """Write lines and sums. Removes the written sums from `days`, and appends lines not written to `dropped`."""
        dropped.append(self._write_lines(lines))
        for date in list(days):
            try:
                add_to_file(self._folder, date, days[date])
                del days[date]
            except OSError as exc:
                self._fail(exc)

    def _write_lines(self, lines: list[tuple[Format, RequestLine]]) -> int:
        """Write the lines; return how many could not be written."""
        dropped = 0
        for (form, date), group in groupby(lines, key=lambda each: (each[0], _date(each[1].time))):
            batch = [line for _, line in group]
            try:
                if form == "csv":
                    data = csv_lines([line.cells() for line in batch])
                else:
                    data = b"".join([line.as_json() for line in batch])
                self._files[form].append(date, data)
                self._failing = False
            except OSError as exc:
                self._fail(exc)
                dropped += len(batch)
        return dropped

    def _fail(self, exc: OSError) -> None:
        if not self._failing:  # warn once, not at every write
            _LOG.error("the logs of calls cannot be written", extra={"fields": {"why": exc.strerror or str(exc)}})
        self._failing = True


def _date(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).date().isoformat()
