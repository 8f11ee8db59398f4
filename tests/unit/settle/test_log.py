"""Log lines: one JSON object each, whatever is in them, and never a brake."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from typing import Any

import pytest

from proxy.settle.log import JsonFormatter, logging_to
from tests.support.waiting import PATIENCE


def formatted(message: str, *args: object, **fields: Any) -> dict[str, Any]:
    record = logging.LogRecord("x", logging.WARNING, __file__, 1, message, args, None)
    if fields:
        record.fields = fields
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert line.isascii()
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_line_has_its_time_its_level_its_event_and_its_fields() -> None:
    line = formatted("call %s", "ended", status=200, of={"a": [1]})

    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "warning", "event": "call ended", "status": 200, "of": {"a": [1]}}


@pytest.mark.parametrize("text", ['a\nb\r{"level":"error"}', "\u2028\u2029\x85", "\x1b[31m\x00", "é😀", "\ud800"])
def test_no_text_can_begin_a_line_of_its_own(text: str) -> None:
    line = formatted("call", model=text)

    assert line["model"] == text
    assert formatted("%s", text)["event"] == text


def test_what_json_does_not_know_is_told_in_words() -> None:
    assert formatted("call", of={1})["of"] == "{1}"


def test_an_exception_is_on_the_same_line() -> None:
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


def test_all_that_was_logged_is_written_when_the_block_ends() -> None:
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


def test_an_error_in_the_block_is_still_written() -> None:
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


def test_a_reader_who_never_comes_back_does_not_keep_us() -> None:
    stream = Slow()
    log = logging.getLogger("x")

    with logging_to(stream, size=1, patience=0.001):
        log.info("first")
        stream.reached.wait()
        log.info("next")
        log.info("dropped")

    assert stream.getvalue() == ""
    stream.released.set()
