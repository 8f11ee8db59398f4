"""Whatever the cuts, one answer; whatever the bytes, no fault but our own; streamed or not, the same facts."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from proxy.core.failures import UpstreamFailure
from proxy.dialects.base import Decoder
from tests.unit.dialects.gemini.build import array, chunk, decoder, deltas, read, sse, usage

TEXT = st.text(max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
PARTS = st.one_of(
    st.fixed_dictionaries({"text": TEXT}, optional={"thought": st.booleans(), "thoughtSignature": TEXT}),
    st.fixed_dictionaries(
        {
            "functionCall": st.fixed_dictionaries(
                {"name": st.sampled_from("fgh"), "args": st.dictionaries(TEXT, JSON, max_size=3)},
                optional={"id": st.sampled_from("ab")},
            )
        }
    ),
)
CHUNKS = st.lists(st.lists(PARTS, max_size=3), min_size=1, max_size=5)
FINISHES = st.sampled_from(["STOP", "MAX_TOKENS", "SAFETY", "OTHER"])
KEYS = ("candidates", "content", "parts", "text", "functionCall", "name", "args", "finishReason", "error", "index")
ODD = st.dictionaries(
    st.sampled_from(KEYS) | TEXT, st.deferred(lambda: ODD | JSON | st.lists(ODD | JSON, max_size=2)), max_size=4
)


def answer(parts: list[list[dict[str, Any]]], finish: str) -> list[dict[str, Any]]:
    """Chunks, the last one with a finish and the counts."""
    *some, last = parts
    return [*(chunk(*these) for these in some), chunk(*last, finish=finish, **usage())]


def cut(raw: bytes, data: st.DataObject) -> list[bytes]:
    places = sorted(data.draw(st.sets(st.integers(0, len(raw)), max_size=12)))
    return [raw[start:end] for start, end in zip([0, *places], [*places, len(raw)], strict=True)]


def outcome(reader: Decoder, pieces: list[bytes]) -> tuple[bytes, str]:
    """What the client gets, and how it ended."""
    out = b""
    try:
        for piece in pieces:
            out += reader.feed(piece)
        return out + reader.finish(), "fault" if reader.fault else "ok"
    except UpstreamFailure as failure:
        return out + failure.partial, failure.kind.value


def facts(message: dict[str, Any]) -> tuple[Any, ...]:
    calls = [call["function"] for call in message.get("tool_calls") or []]
    return message.get("content") or "", message.get("reasoning_content") or "", calls


def joined(found: list[dict[str, Any]]) -> dict[str, Any]:
    """A message out of deltas."""
    calls: dict[int, dict[str, str]] = {}
    for delta in found:
        for call in delta.get("tool_calls") or []:
            known = calls.setdefault(call["index"], {"name": "", "arguments": ""})
            for name, value in call["function"].items():
                known[name] += value
    texts = {name: "".join(delta.get(name) or "" for delta in found) for name in ("content", "reasoning_content")}
    return {**texts, "tool_calls": [{"function": call} for _, call in sorted(calls.items())]}


@settings(max_examples=150, deadline=None)
@given(CHUNKS, FINISHES, st.sampled_from([sse, array]), st.booleans(), st.data())
def test_the_output_does_not_depend_on_the_cuts(
    parts: list[list[dict[str, Any]]], finish: str, wire: Any, stream: bool, data: st.DataObject
) -> None:
    raw = wire(*answer(parts, finish))
    raw = raw[: data.draw(st.integers(0, len(raw)))] if data.draw(st.booleans()) else raw

    at_once = outcome(decoder(stream=stream), [raw])

    assert outcome(decoder(stream=stream), cut(raw, data)) == at_once
    assert outcome(decoder(stream=stream), [raw[at : at + 1] for at in range(len(raw))]) == at_once


@settings(max_examples=150, deadline=None)
@given(CHUNKS, FINISHES)
def test_streamed_or_not_the_facts_are_the_same(parts: list[list[dict[str, Any]]], finish: str) -> None:
    every = [part for these in parts for part in these]
    whole = chunk(*every, finish=finish, **usage())
    assume(finish != "OTHER" or any(not part.get("thought") and part.get("text") != "" for part in every))

    alone = json.loads(read(decoder(stream=False), [json.dumps(whole).encode()]))["choices"][0]
    streamed = read(decoder(), [sse(*answer(parts, finish))])
    as_array = read(decoder(), [array(*answer(parts, finish))])

    assert streamed == as_array
    assert facts(joined(deltas(streamed))) == facts(alone["message"])
    assert f'"finish_reason":"{alone["finish_reason"]}"'.encode() in streamed


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.binary(max_size=20) | st.sampled_from([b"data: ", b"[{", b'"', b"\r\n\r\n", b"}]", b"\\"])),
    st.booleans(),
)
def test_garbage_raises_nothing_but_our_own_failure(pieces: list[bytes], stream: bool) -> None:
    outcome(decoder(stream=stream), pieces)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ODD, min_size=1, max_size=3), st.sampled_from([sse, array]), st.booleans())
def test_odd_objects_raise_nothing_but_our_own_failure(values: list[dict[str, Any]], wire: Any, stream: bool) -> None:
    outcome(decoder(stream=stream), [wire(*values)])
