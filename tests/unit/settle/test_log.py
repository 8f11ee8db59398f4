"""Log lines: one JSON object each, in their order, without delaying calls."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading
from typing import Any

import pytest

from proxy.settle.log import JsonFormatter, LogWriter, Output, logging_to, output_lock
from tests.support.waiting import PATIENCE, until
from tests.unit.settle.test_access import access_line


def formatted(message: str, *args: object, **fields: Any) -> dict[str, Any]:
    record = logging.LogRecord("x", logging.WARNING, __file__, 1, message, args, None)
    if fields:
        record.fields = fields
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert line.isascii()
    found: dict[str, Any] = json.loads(line)
    return found


def test_line_has_time_level_event_and_fields() -> None:
    line = formatted("call %s", "ended", status=200, of={"a": [1]})

    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "warning", "event": "call ended", "status": 200, "of": {"a": [1]}}


@pytest.mark.parametrize("text", ['a\nb\r{"level":"error"}', "\u2028\u2029\x85", "\x1b[31m\x00", "é😀", "\ud800"])
def test_no_text_can_begin_another_line(text: str) -> None:
    line = formatted("call", model=text)

    assert line["model"] == text
    assert formatted("%s", text)["event"] == text


def test_value_unknown_to_json_is_logged_as_text() -> None:
    assert formatted("call", of={1})["of"] == "{1}"


def test_exception_is_on_the_same_line() -> None:
    try:
        raise ValueError("why")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())

    line = JsonFormatter().format(record)

    assert "\n" not in line
    assert "ValueError: why" in json.loads(line)["exception"]


def log_and_fail(stream: io.StringIO) -> None:
    with logging_to(stream, patience=PATIENCE):
        logging.getLogger("x").error("before")
        raise KeyError


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_all_lines_are_written_when_the_block_ends() -> None:
    stream = io.StringIO()
    before = logging.getLogger().level

    with logging_to(stream, patience=PATIENCE):
        for number in range(100):
            logging.getLogger("proxy.access").info("call", extra={"fields": {"number": number}})
        logging.getLogger("proxy.access").debug("not this")

    assert [line["number"] for line in lines(stream)] == list(range(100))
    assert logging.getLogger().level == before
    logging.getLogger("proxy.access").warning("nor this")
    assert len(lines(stream)) == 100


def test_lines_are_written_when_the_block_raises() -> None:
    stream = io.StringIO()

    with pytest.raises(KeyError):
        log_and_fail(stream)

    assert [line["event"] for line in lines(stream)] == ["before"]


class Slow(io.StringIO):
    """A stream whose reader does not read until it is `released`."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()
        self.released = threading.Event()

    def write(self, text: str) -> int:
        self.reached.set()
        self.released.wait()
        return super().write(text)


def test_unread_lines_are_dropped_and_counted() -> None:
    stream = Slow()
    log = logging.getLogger("x")

    with logging_to(stream, size=20, patience=PATIENCE):
        log.info("first")
        stream.reached.wait()
        for _ in range(20 + 7):
            log.info("next")
        stream.released.set()

    written = lines(stream)
    [notice] = [line for line in written if line["event"] == "log lines were dropped"]
    assert (notice["level"], notice["lines"]) == ("warning", 7)
    assert len(written) == 1 + 20 + 1


def test_dropped_lines_are_reported_once_there_is_room() -> None:
    stream = Slow()
    log = logging.getLogger("x")

    with logging_to(stream, size=2, patience=PATIENCE):
        log.info("first")
        stream.reached.wait()
        for _ in range(5):
            log.info("next")
        stream.released.set()
        while len(stream.getvalue().splitlines()) < 3:
            log.debug("not this")
        log.info("last")

    assert [line["event"] for line in lines(stream)] == ["first", "next", "next", "last", "log lines were dropped"]


def test_blocked_output_does_not_delay_the_end() -> None:
    stream = Slow()
    log = logging.getLogger("x")

    with logging_to(stream, size=1, patience=0.001):
        log.info("first")
        stream.reached.wait()
        log.info("next")
        log.info("dropped")

    assert stream.getvalue() == ""
    stream.released.set()


def test_access_lines_and_events_keep_their_order() -> None:
    stream = io.StringIO()
    log = logging.getLogger("x")

    with logging_to(stream, patience=PATIENCE) as writer:
        for number in range(300):
            writer.write(access_line(id=f"req_{number}"))
            log.info("event %s", number)

    seen = [line.get("id") or line["event"] for line in lines(stream)]
    assert seen == [name for number in range(300) for name in (f"req_{number}", f"event {number}")]


def test_line_appears_while_the_writer_runs() -> None:
    stream = io.StringIO()

    with logging_to(stream, patience=PATIENCE) as writer:
        for number in range(3):
            writer.write(access_line(id=f"req_{number}"))
            until(lambda number=number: f"req_{number}" in stream.getvalue())  # type: ignore[misc]


def test_access_lines_beyond_the_queue_are_dropped_and_counted() -> None:
    stream = Slow()

    with logging_to(stream, size=20, patience=PATIENCE) as writer:
        writer.write(access_line())
        stream.reached.wait()
        for _ in range(20 + 7):
            writer.write(access_line())
        stream.released.set()

    *calls, notice = lines(stream)
    assert len(calls) == 1 + 20
    assert (notice["event"], notice["lines"]) == ("log lines were dropped", 7)


class Failing(io.StringIO):
    """A stream whose first write fails."""

    def __init__(self) -> None:
        super().__init__()
        self.failed = threading.Event()

    def write(self, text: str) -> int:
        if not self.failed.is_set():
            self.failed.set()
            raise BrokenPipeError
        return super().write(text)


def test_failed_write_does_not_end_the_writer() -> None:
    stream = Failing()

    with logging_to(stream, patience=PATIENCE) as writer:
        writer.write(access_line(id="first"))
        stream.failed.wait()
        writer.write(access_line(id="second"))

    assert [line["id"] for line in lines(stream)] == ["second"]


class Unprintable:
    """A value that has no text."""

    def __str__(self) -> str:
        raise RuntimeError


def test_record_that_cannot_be_formatted_becomes_an_error_line() -> None:
    stream = io.StringIO()

    with logging_to(stream, patience=PATIENCE):
        logging.getLogger("x").info("first", extra={"fields": {"value": Unprintable()}})
        logging.getLogger("x").info("next")

    first, second = lines(stream)
    assert (first["level"], first["event"], first["error"]) == (
        "error",
        "a log line could not be formatted",
        "RuntimeError",
    )
    assert second["event"] == "next"


HOLDER = """
import fcntl, os, sys
output, lock = map(int, sys.argv[1:])
fcntl.lockf(lock, fcntl.LOCK_EX)
os.write(output, b"first ")
sys.stdin.readline()
os.write(output, b"line\\n")
"""


def test_line_of_another_process_is_complete_before_the_next() -> None:
    lock = output_lock()
    reader, output = os.pipe()
    command = [sys.executable, "-c", HOLDER, str(output), str(lock)]

    with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(output, lock), text=True) as other:
        assert os.read(reader, 100) == b"first "
        writer = threading.Thread(target=Output(output, lock).write, args=("second line\n",))
        writer.start()
        other.communicate("go on\n")
        writer.join()

    assert os.read(reader, 100) == b"line\nsecond line\n"
    for number in (reader, output, lock):
        os.close(number)


def test_output_that_is_full_for_a_while_glues_no_lines_together() -> None:
    reader, output = os.pipe()
    os.set_blocking(output, False)
    stream = Output(output)

    stream.write("x" * 200_000 + "\n")
    whole = os.read(reader, 1_000_000)
    stream.write("next\n")
    stream.write("last\n")

    assert set(whole) == {ord("x")}
    assert os.read(reader, 100) == b"\nnext\nlast\n"
    for number in (reader, output):
        os.close(number)


def test_records_are_queued_without_the_lock_of_logging() -> None:
    stream = io.StringIO()

    with logging_to(stream):
        assert [handler.lock for handler in logging.getLogger().handlers if isinstance(handler, LogWriter)] == [None]
        logging.getLogger("x").info("written")

    assert [line["event"] for line in lines(stream)] == ["written"]
