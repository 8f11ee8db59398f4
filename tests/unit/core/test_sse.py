"""Events out of bytes, to the byte."""

from __future__ import annotations

import pytest

from proxy.core.sse import Events, EventTooLarge, data_of, split


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n", b"\r\n\n"])
def test_an_event_ends_at_an_empty_line_of_any_kind(end: bytes) -> None:
    events = Events()

    assert events.feed(b"data: 1" + end + b"data: 2" + end + b"x") == [b"data: 1" + end, b"data: 2" + end]
    assert events.rest() == b"x"


def test_an_event_is_given_only_when_it_is_whole() -> None:
    events = Events()

    assert events.feed(b"data: 1\n") == []
    assert events.feed(b"\nda") == [b"data: 1\n\n"]
    assert events.feed(b"ta: 2\n\n") == [b"data: 2\n\n"]
    assert events.rest() == b""


def test_a_carriage_return_at_the_end_waits_for_its_line_feed() -> None:
    events = Events()

    assert events.feed(b"data: 1\r\n\r") == []
    assert events.feed(b"\ndata: 2") == [b"data: 1\r\n\r\n"]


def test_a_lone_carriage_return_at_the_end_is_in_the_rest() -> None:
    events = Events()

    assert events.feed(b"data: 1\r\r") == []
    assert events.rest() == b"data: 1\r\r"
    assert events.rest() == b""


def test_an_event_beyond_the_limit_is_refused() -> None:
    events = Events(limit=10)
    events.feed(b"data: 12")

    with pytest.raises(EventTooLarge, match="larger than 10 bytes"):
        events.feed(b"345")


def test_many_small_events_beyond_the_limit_are_taken() -> None:
    events = Events(limit=10)

    assert len(events.feed(b"data: 1\n\n" * 100)) == 100


@pytest.mark.parametrize("last", [b"data: 2\n\n", b"data: 2\r\r", b"data: 2", b""])
def test_whole_events_are_split_with_the_last_one_as_it_is(last: bytes) -> None:
    events = split(b"data: 1\r\n\r\n" + last)

    assert events == [b"data: 1\r\n\r\n", *([last] if last else [])]


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: x\n\n", b"x"),
        (b"data:x\n\n", b"x"),
        (b"data:  x\n\n", b" x"),
        (b"event: e\r\ndata: x\r\n\r\n", b"x"),
        (b"data: a\ndata: b\r\r", b"a\nb"),
        (b"data:\n\n", b""),
        (b": comment\n\n", None),
        (b"event: ping\nid: 1\n\n", None),
        (b"database: x\n\n", None),
        (b"\n\n", None),
    ],
)
def test_data_is_what_the_data_lines_say(event: bytes, data: bytes | None) -> None:
    assert data_of(event) == data
