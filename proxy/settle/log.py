"""The log writer: one JSON object per line, formatted and written by a separate thread.

A call only appends its values to a bounded queue. The thread takes what has collected every few milliseconds, so that
it does not compete with the event loop for each line. If the output is read too slowly, lines are dropped and counted
instead of delaying calls.
"""

from __future__ import annotations

import fcntl
import io
import json
import logging
import os
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import IO

from proxy.settle.access import AccessLine, AccessLineEncoder

QUEUE_SIZE = 20_000  # lines
PATIENCE = 2.0  # seconds for the remaining lines at the end
PERIOD = 0.02  # seconds between two batches; after one without a line the thread waits for the next line
BATCH = 64 * 1024  # characters that are written at once


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: `time`, `level`, `event`, and the record's fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0]:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)  # ASCII, which every stream can encode, even lone surrogates


class LogWriter(logging.Handler):
    """A handler for all log records, and for access lines, which take the shorter way through `write`."""

    def __init__(self, stream: IO[str], size: int) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self._stream = stream
        self._size = size
        self._entries: deque[AccessLine | logging.LogRecord] = deque()
        self._dropped = 0  # since the last report
        self._encoder = AccessLineEncoder()
        self._idle = True  # the thread waits for `_wake`
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log writer", daemon=True)
        self._thread.start()

    def write(self, entry: AccessLine | logging.LogRecord) -> None:
        """Queue a line if the queue is not full; report the number of dropped lines when it has space again."""
        entries = self._entries
        if len(entries) >= self._size:
            self._dropped += 1
            return
        entries.append(entry)
        if self._dropped and len(entries) < self._size:
            self._report_dropped()
        if self._idle:
            self._idle = False
            self._wake.set()

    def handle(self, record: logging.LogRecord) -> bool:
        """Queue a record of `logging`, without the lock that the base class takes around `emit`."""
        self.write(record)
        return True

    def createLock(self) -> None:
        """Use no lock: the queue needs none, and `logging` must not wait for one at interpreter exit."""
        self.lock = None

    def stop(self, patience: float) -> None:
        """Write the remaining lines for at most `patience` seconds, because the reader may be gone."""
        if self._dropped:
            self._report_dropped()
        self._stopping.set()
        self._wake.set()
        self._thread.join(patience)

    def _report_dropped(self) -> None:
        self._entries.append(_event(logging.WARNING, "log lines were dropped", lines=self._dropped))
        self._dropped = 0

    def _run(self) -> None:
        """Write batches until `stop`, then the rest."""
        while not self._stopping.wait(PERIOD):
            if self._entries:
                self._write_queued()
                continue
            self._idle = True
            if not self._entries:  # nothing was queued before `write` could see that the thread is idle
                self._wake.wait()
            self._idle = False
            self._wake.clear()
        self._write_queued()

    def _write_queued(self) -> None:
        entries = self._entries
        while entries:
            lines: list[str] = []
            length = 0
            while entries and length < BATCH:
                line = self._line(entries.popleft())
                lines.append(line)
                length += len(line)
            lines.append("")
            with suppress(OSError, ValueError):  # a closed stream loses lines; the thread goes on
                self._stream.write("\n".join(lines))

    def _line(self, entry: AccessLine | logging.LogRecord) -> str:
        try:
            return self._encoder.encode(entry) if isinstance(entry, AccessLine) else self.format(entry)
        except Exception as exc:
            return self.format(_event(logging.ERROR, "a log line could not be formatted", error=type(exc).__name__))


def _event(level: int, event: str, **fields: object) -> logging.LogRecord:
    record = logging.LogRecord(__name__, level, __file__, 0, event, None, None)
    record.fields = fields
    return record


class Output(io.TextIOBase):
    """A file descriptor as an unbuffered stream that ignores write errors.

    `lock` is an open file that the processes writing to the same output share: their lines do not mix.
    """

    def __init__(self, number: int, lock: int | None = None) -> None:
        self._number = number
        self._lock = lock
        self._cut = False  # the last line is incomplete

    def write(self, text: str) -> int:
        if self._lock is None:
            self._write(text)
            return len(text)
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        try:
            self._write(text)
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)
        return len(text)

    def _write(self, text: str) -> None:
        rest = memoryview((b"\n" if self._cut else b"") + text.encode("utf-8", "backslashreplace"))
        with suppress(OSError):  # a closed pipe or a full disk loses lines, not calls
            while rest:
                written = os.write(self._number, rest)
                rest = rest[written:]
                self._cut = bool(rest)


def standard_output(lock: int | None = None) -> IO[str]:
    """Return standard output, or the null device if it was closed before the start; `lock` is that of `Output`."""
    if sys.stdout is None:
        return Output(os.open(os.devnull, os.O_WRONLY))  # type: ignore[return-value]
    return Output(sys.stdout.fileno(), lock)  # type: ignore[return-value]


def output_lock() -> int:
    """Return an open file by which the processes that inherit it take turns at one output."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("signalbox-log")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


@contextmanager
def logging_to(stream: IO[str], *, size: int = QUEUE_SIZE, patience: float = PATIENCE) -> Iterator[LogWriter]:
    """Write all logs to `stream` while the block runs, and the remaining lines at its end; yield the writer.

    `size` is the maximum of queued lines, `patience` the seconds for the remaining ones.
    """
    writer = LogWriter(stream, size)
    root = logging.getLogger()
    before = root.level
    root.addHandler(writer)
    root.setLevel(logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every URL
    try:
        yield writer
    finally:
        root.removeHandler(writer)
        root.setLevel(before)
        writer.stop(patience)
        writer.close()
