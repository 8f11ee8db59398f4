"""The decoders of the OpenAI dialect, whatever comes and however it is cut."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.sse import data_of
from proxy.core.usage import Usage
from proxy.dialects.openai.plain import JsonDecoder
from proxy.dialects.openai.stream import StreamDecoder
from tests.support.exact import ExactDecoder, odd_chunks, states

ENDS = ("\n\n", "\r\n\r\n", "\r\r", "\n\r\n", "\r\n\n")
USAGE = {"prompt_tokens": 3, "completion_tokens": 2}


def choice(delta: Any, finish: Any = None, index: Any = 0) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


TEXTS = st.text(max_size=12)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(TEXTS, children, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(("choices", "error", "usage", "delta", "index", "finish_reason", "content", "code", "message"))
ODD = st.dictionaries(FIELDS, ANY_JSON, max_size=3)
CHUNKS = st.one_of(
    st.just(choice({"role": "assistant", "content": ""})),
    st.builds(
        choice, st.fixed_dictionaries({"content": TEXTS}), st.sampled_from((None, None, "stop")), st.integers(0, 1)
    ),
    st.builds(choice, st.fixed_dictionaries({"tool_calls": st.just([{"index": 0}])})),
    st.just(choice({}, "stop")),
    st.just({"choices": [], "usage": USAGE}),
    st.just({"choices": [], "prompt_filter_results": []}),
    st.just({**choice({}, "stop"), "usage": USAGE}),
)
ERRORS = st.sampled_from(({"error": {"message": "no"}}, {"error": {"message": "slow", "code": 429}}, {"error": "text"}))
ODD_CHUNKS = st.one_of(
    ODD, st.builds(choice, ANY_JSON, ANY_JSON, ANY_JSON), ANY_JSON, ODD.map(lambda v: {"choices": [v]})
)


def line(value: Any, space: str = " ", *, plain: bool = True) -> str:
    return f"data:{space}{json.dumps(value, ensure_ascii=plain)}"


LINES = st.one_of(
    st.builds(line, CHUNKS, st.sampled_from((" ", "")), plain=st.booleans()),
    st.builds(line, CHUNKS),
    st.sampled_from(("data: [DONE]", "data:[DONE]", ": keep-alive", "event: message\ndata: {}", "id: 7", "data:", "")),
)
BAD_LINES = st.one_of(st.builds(line, ERRORS), st.builds(line, ODD_CHUNKS), st.just("data: {oops"), TEXTS)
ENDED = st.sampled_from(ENDS)


def joined(lines: list[tuple[str, str]]) -> bytes:
    return "".join(text + end for text, end in lines).encode("utf-8", "surrogatepass")


STREAMS = st.lists(st.tuples(LINES, ENDED), max_size=8).map(joined)
MIXED = st.lists(st.tuples(st.one_of(LINES, LINES, BAD_LINES), ENDED), max_size=8).map(joined)
TRUNCATED = st.builds(lambda data, place: data[: int(len(data) * place)], MIXED, st.floats(0, 1))
ANYTHING = st.one_of(
    STREAMS, MIXED, TRUNCATED, st.binary(max_size=60), st.builds(bytes.__add__, MIXED, st.binary(max_size=9))
)


@dataclass(frozen=True)
class Seen:
    """What an answer has come to."""

    out: bytes
    committed: bool
    complete: bool
    closed: bool
    fault: FailureKind | None
    failure: tuple[FailureKind, str] | None
    usage: Usage | None


def read(decoder: StreamDecoder, pieces: list[bytes]) -> Seen:
    """As the relay reads: until the end, a failure, or the upstream's own error."""
    out, failure = b"", None
    try:
        for piece in pieces:
            if decoder.fault is None:
                out += decoder.feed(piece)
        if decoder.fault is None:
            out += decoder.finish()
    except UpstreamFailure as exc:
        failure = (exc.kind, str(exc))
        out += exc.partial
    if decoder.fault and failure is None:
        out += decoder.fault.event  # the relay sends it last
    return Seen(
        out if decoder.committed else b"",
        decoder.committed,
        decoder.complete,
        decoder.closed,
        decoder.fault.kind if decoder.fault else None,
        failure,
        decoder.usage,
    )


def cut(data: bytes, places: set[int]) -> list[bytes]:
    cuts = sorted(place for place in places if place < len(data))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def events(data: bytes) -> list[bytes]:
    """The whole events, line by line and by the letter of the specification; what is left over comes last."""
    found, start, at, begins = [], 0, 0, True
    while at < len(data):
        if data[at] not in b"\r\n":
            begins = False
            at += 1
            continue
        at += 2 if data[at : at + 2] == b"\r\n" else 1
        if begins:
            found.append(data[start:at])
            start = at
        begins = not begins or start == at
    return [*found, data[start:]]


ENDED_EARLY = (line(choice({"content": "x"}, "stop")) + "\n\ndata: [DONE]\n\n").encode()
PLACES = st.sets(st.integers(1, 600), max_size=12)


ODD_EVENTS = st.sampled_from(odd_chunks())
PLAIN_ENDS = st.sampled_from((*["\n\n"] * 6, "\r\n\r\n", "\n\n\n", "\n\r\n"))
ODD_STREAMS = st.lists(st.tuples(st.one_of(LINES, LINES, ODD_EVENTS), PLAIN_ENDS), max_size=6).map(
    lambda lines: "".join(text + end for text, end in lines).encode("utf-8", "surrogateescape")
)


@settings(max_examples=500, deadline=None)
@given(st.one_of(ODD_STREAMS, ODD_STREAMS, ANYTHING), PLACES, st.integers(1, 2), st.booleans())
def test_typed_views_change_nothing(data: bytes, places: set[int], choices: int, drop: bool) -> None:
    pieces = [line(choice({"content": "x"})).encode() + b"\n\n", *cut(data, places)]

    typed = states(StreamDecoder(choices=choices, drop_usage=drop), pieces)

    assert typed == states(ExactDecoder(choices=choices, drop_usage=drop), pieces)


@settings(max_examples=200, deadline=None)
@given(ANYTHING, PLACES, st.integers(1, 2), st.booleans())
def test_what_a_stream_gives_does_not_depend_on_how_it_was_cut(
    data: bytes, places: set[int], choices: int, drop: bool
) -> None:
    whole = read(StreamDecoder(choices=choices, drop_usage=drop), [data])

    in_pieces = read(StreamDecoder(choices=choices, drop_usage=drop), cut(data, places))
    in_bytes = read(StreamDecoder(choices=choices, drop_usage=drop), cut(data, set(range(1, len(data)))))

    assert in_pieces == whole
    assert in_bytes == whole


@settings(max_examples=200, deadline=None)
@given(ANYTHING, PLACES)
@example(ENDED_EARLY + b"data: {oops\n\n ", set())
@example(ENDED_EARLY + b": comment\n\n\r", set())
def test_only_whole_events_are_relayed_in_their_order(data: bytes, places: set[int]) -> None:
    seen = read(StreamDecoder(choices=1, drop_usage=False), cut(data, places))

    starts = [b""]
    for event in events(data):
        starts.append(starts[-1] + event)
    assert seen.out in starts


def said(event: bytes, without: str = "") -> dict[str, Any] | None:
    """The object of an event, without one of its members; None if it has none."""
    try:
        value = json.loads(data_of(event) or b"")
    except ValueError:
        return None
    return {name: other for name, other in value.items() if name != without} if isinstance(value, dict) else None


def is_rest_of(rest: bytes, event: bytes) -> bool:
    """Whether `rest` is `event`, or what is left of it without its usage."""
    return rest == event or (b'"usage"' in event and said(event, without="usage") == said(rest))


@settings(max_examples=200, deadline=None)
@given(ANYTHING, PLACES)
def test_only_the_usage_of_chunks_without_choices_is_taken_out(data: bytes, places: set[int]) -> None:
    kept = read(StreamDecoder(choices=1, drop_usage=False), cut(data, places))
    dropped = read(StreamDecoder(choices=1, drop_usage=True), cut(data, places))

    left = list(events(dropped.out))
    accounted = {0}  # how many events of `left` the events so far may account for: equal ones make several possible
    for event in events(kept.out):
        droppable = b'"usage"' in event or not event.strip()
        further = {place + 1 for place in accounted if place < len(left) and is_rest_of(left[place], event)}
        accounted = further | (accounted if droppable else set())
    assert len(left) in accounted
    assert (kept.failure, kept.fault, kept.usage) == (dropped.failure, dropped.fault, dropped.usage)


@settings(max_examples=200, deadline=None)
@given(ANYTHING)
def test_an_answer_without_a_finish_or_a_done_never_looks_whole(data: bytes) -> None:
    seen = read(StreamDecoder(choices=1, drop_usage=False), [data])

    assert seen.complete or seen.failure or seen.fault
    if seen.failure is None and seen.fault is None:
        assert seen.committed
        assert b"[DONE]" in data or b"finish_reason" in data


@settings(deadline=None)
@given(STREAMS)
def test_a_valid_stream_is_relayed_byte_for_byte(data: bytes) -> None:
    data = data.replace(b"[DONE]", b"{}")  # nothing follows it
    data += (line(choice({"content": "x"})) + "\n\n" + line(choice({}, "stop")) + "\n\n").encode()
    data += line(choice({}, "stop", 1)).encode() + b"\n\ndata: [DONE]\n\n"

    seen = read(StreamDecoder(choices=2, drop_usage=False), [data])

    assert (seen.out, seen.failure, seen.fault) == (data, None, None)


def read_json(pieces: list[bytes]) -> tuple[bytes, FailureKind | None]:
    decoder = JsonDecoder()
    try:
        return b"".join(decoder.feed(piece) for piece in pieces) + decoder.finish(), None
    except UpstreamFailure as failure:
        return b"", failure.kind


@settings(deadline=None)
@given(st.one_of(ODD_CHUNKS.map(json.dumps).map(str.encode), ANYTHING), PLACES)
def test_a_whole_answer_is_relayed_unchanged_or_not_at_all(data: bytes, places: set[int]) -> None:
    out, kind = read_json([data])

    assert read_json(cut(data, places)) == (out, kind)
    assert (out == data) if kind is None else (out == b"")
