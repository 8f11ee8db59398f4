"""The log writer: one JSON object per line, written by a separate thread.

A call only puts its line into a bounded queue. If the output is read too slowly, lines are dropped and counted instead
of delaying calls.
"""

from __future__ import annotations

import io
import json
import logging
import os
import queue
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from typing import IO, Any

QUEUE_SIZE = 20_000
PATIENCE = 2.0  # seconds for the remaining lines at the end


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: `time`, `level`, `event`, and the record's fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0]:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)  # ASCII, which every stream can encode, even lone surrogates


class _Queue(QueueHandler):
    """Queues a line if the queue is not full; reports the number of dropped lines when it has space again."""

    def __init__(self, lines: queue.Queue[logging.LogRecord]) -> None:
        super().__init__(lines)
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1
        else:
            self.tell()

    def tell(self, patience: float = 0.0) -> None:
        """Report the number of dropped lines, if any."""
        if not self.dropped:
            return
        record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, "log lines were dropped", None, None)
        record.fields = {"lines": self.dropped}
        with suppress(queue.Full):
            self.queue.put(record, timeout=patience)  # type: ignore[attr-defined]
            self.dropped = 0


class _Writer(QueueListener):
    def stop_within(self, patience: float) -> None:
        """Write the remaining lines until the timeout, because the reader may be gone."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        with suppress(queue.Full):
            self.queue.put(self._sentinel, timeout=patience)  # type: ignore[attr-defined]
            thread.join(patience)


class _Descriptor(io.TextIOBase):
    """A file descriptor as an unbuffered stream that ignores write errors."""

    def __init__(self, number: int) -> None:
        self._number = number

    def write(self, text: str) -> int:
        rest = memoryview(text.encode("utf-8", "backslashreplace"))
        with suppress(OSError):  # a closed pipe or a full disk loses lines, not calls
            while rest:
                rest = rest[os.write(self._number, rest) :]
        return len(text)


def standard_output() -> IO[str]:
    """Return standard output, or the null device if it was closed before the start."""
    if sys.stdout is None:
        return _Descriptor(os.open(os.devnull, os.O_WRONLY))  # type: ignore[return-value]
    return _Descriptor(sys.stdout.fileno())  # type: ignore[return-value]


@contextmanager
def logging_to(stream: IO[str], *, size: int = QUEUE_SIZE, patience: float = PATIENCE) -> Iterator[None]:
    """Write all logs to `stream` while the block runs, and the remaining lines at its end.

    `size` is the maximum of queued lines, `patience` the seconds for the remaining ones.
    """
    handler = logging.StreamHandler(stream)
    handler.lock = None  # only one thread writes; `logging` must not wait for it at interpreter exit
    handler.setFormatter(JsonFormatter())
    front = _Queue(queue.Queue(size))
    writer = _Writer(front.queue, handler)
    root = logging.getLogger()
    before = root.level
    root.addHandler(front)
    root.setLevel(logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every URL
    writer.start()
    try:
        yield
    finally:
        root.removeHandler(front)
        root.setLevel(before)
        front.tell(patience)
        writer.stop_within(patience)
