"""Events do not depend on how the bytes were cut, and nothing is lost or added."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.sse import Events, data_of

ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
LINES = st.sampled_from(
    [b"data: x", b"data:", b"data: {}", b": comment", b"event: e", b"id: 1", "data: é日😀".encode(), b"\x00\xff", b"x"]
)
NOISE = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"data: x", b"a", b""]), max_size=25).map(b"".join)


def cut(data: st.DataObject, wire: bytes) -> list[bytes]:
    places = sorted(data.draw(st.sets(st.integers(0, len(wire)), max_size=10)))
    return [wire[start:end] for start, end in zip([0, *places], [*places, len(wire)], strict=True)]


def fed(chunks: list[bytes]) -> tuple[list[bytes], bytes]:
    events = Events()
    found = [event for chunk in chunks for event in events.feed(chunk)]
    return found, events.rest()


@settings(max_examples=400, deadline=None)
@given(NOISE, st.data())
def test_events_do_not_depend_on_chunk_boundaries(wire: bytes, data: st.DataObject) -> None:
    assert fed(cut(data, wire)) == fed([wire])


@settings(max_examples=200, deadline=None)
@given(NOISE)
def test_events_can_be_fed_byte_by_byte(wire: bytes) -> None:
    assert fed([wire[at : at + 1] for at in range(len(wire))]) == fed([wire])


@settings(max_examples=300, deadline=None)
@given(NOISE | st.binary(max_size=60), st.data())
def test_the_events_and_the_rest_are_the_bytes_that_came(wire: bytes, data: st.DataObject) -> None:
    events, rest = fed(cut(data, wire))

    assert b"".join(events) + rest == wire


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.lists(LINES, min_size=1, max_size=3), ENDS), max_size=5), st.data())
def test_every_event_is_found_whatever_its_line_ends(
    written: list[tuple[list[bytes], bytes]], data: st.DataObject
) -> None:
    expected = [end.join(lines) + end * 2 for lines, end in written]

    events, rest = fed([*cut(data, b"".join(expected)), b": last"])

    assert events == expected
    assert rest == b": last"
    assert [data_of(event) for event in events] == [
        b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))
        if any(line.startswith(b"data:") for line in lines)
        else None
        for lines, _ in written
    ]
