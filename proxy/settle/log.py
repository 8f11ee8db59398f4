"""Log lines: one JSON object each, written by a thread of its own.

A call only puts its line into a bounded queue. When whoever reads our output is slower than we are, lines are dropped
and their number told, rather than calls slowed down.
"""

from __future__ import annotations

import json
import logging
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from typing import IO, Any

QUEUE_SIZE = 20_000


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: `time`, `level`, `event`, and the fields that came with it."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0]:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class _Queue(QueueHandler):
    dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


@contextmanager
def logging_to(stream: IO[str], level: int = logging.INFO) -> Iterator[None]:
    """Write all logs to `stream` while the block runs, and what is left of them at its end."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    front = _Queue(queue.Queue(QUEUE_SIZE))
    listener = QueueListener(front.queue, handler)
    root = logging.getLogger()
    before = root.level
    root.addHandler(front)
    root.setLevel(level)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every URL
    listener.start()
    try:
        yield
    finally:
        if front.dropped:
            root.warning("log lines were dropped", extra={"fields": {"lines": front.dropped}})
        root.removeHandler(front)
        root.setLevel(before)
        listener.stop()
