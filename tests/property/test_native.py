"""The decoders of native answers, whatever comes and however it is cut."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.failures import UpstreamFailure
from proxy.core.sse import split
from proxy.dialects.anthropic.native import MessageBody, MessageEvents
from proxy.dialects.base import NativeDecoder
from proxy.dialects.gemini.native_answer import GenerateBody, GenerateStream
from proxy.dialects.openai.native import ResponseBody, ResponseEvents
from tests.support.natives import ANTHROPIC, GEMINI, RESPONSES, WireFormat

ENDS = (b"\n\n", b"\r\n\r\n", b"\n\n")
STREAMS = ((ANTHROPIC, MessageEvents), (RESPONSES, ResponseEvents), (GEMINI, GenerateStream))
BODIES: tuple[Callable[[], NativeDecoder], ...] = (MessageBody, ResponseBody, GenerateBody)
TEXTS = st.text(max_size=8)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(TEXTS, children, max_size=3),
    max_leaves=5,
)
MEMBERS = (
    *("type", "delta", "index", "content_block", "message", "usage", "response", "item", "error", "status", "output"),
    *("candidates", "content", "parts", "finishReason", "promptFeedback", "usageMetadata", "text", "stop_reason"),
)
KINDS = (
    "message_delta",
    "content_block_delta",
    "message_stop",
    "response.completed",
    "response.output_text.delta",
    "x",
)
ODD = st.dictionaries(st.sampled_from(MEMBERS), ANY_JSON | st.sampled_from(KINDS), max_size=4)
BYTES = st.sampled_from((b": hi\n\n", b"data: [DONE]\n\n", b"\n", b"data:\n\n", b"event: ping\n\n", b"data: {x}\n\n"))


def events_of(wire_format: WireFormat) -> st.SearchStrategy[list[bytes]]:
    """Events of an answer in any order, with others between them."""
    own = [*wire_format.opening, wire_format.text("Hi"), wire_format.text("é"), *wire_format.closing]
    odd = st.builds(lambda value, end: b"data: " + json.dumps(value).encode() + end, ODD, st.sampled_from(ENDS))
    one = st.sampled_from([*own, *own, *wire_format.errors.values()]) | odd | BYTES
    return st.lists(one, max_size=10) | st.just([*wire_format.opening, wire_format.text("Hi"), *wire_format.closing])


def read(decoder: NativeDecoder, pieces: list[bytes]) -> tuple[Any, ...]:
    """All that the client gets, how it ends, and what the decoder knows then."""
    out, failed = b"", None
    try:
        for piece in pieces:
            out += decoder.feed(piece)
        out += decoder.finish()
    except UpstreamFailure as failure:
        failed = failure.kind, str(failure)
        out += failure.partial
    fault = decoder.fault
    return (
        out if decoder.committed else b"",
        failed,
        None if fault is None else (str(fault), fault.event),
        (decoder.committed, decoder.complete, decoder.native_finish, decoder.usage, decoder.text_bytes),
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data(), sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_every_cut_gives_the_same_answer(data: st.DataObject, sizes: list[int]) -> None:
    for wire_format, decoder in STREAMS:
        whole = b"".join(data.draw(events_of(wire_format)))
        pieces, at = [], 0
        while at < len(whole):
            size = sizes[len(pieces) % len(sizes)]
            pieces.append(whole[at : at + size])
            at += size

        at_once, in_pieces = read(decoder(), [whole] if whole else []), read(decoder(), pieces)

        assert in_pieces == at_once
        left = iter(split(whole))
        assert all(event in left for event in split(at_once[0]))  # whole events, in their order


@settings(max_examples=60, deadline=None)
@given(value=ANY_JSON | ODD, cut=st.integers(0, 60))
def test_a_body_passes_or_fails(value: Any, cut: int) -> None:
    body = json.dumps(value).encode()
    for make in BODIES:
        out, failed, _, _ = read(make(), [body[:cut], body[cut:]])

        assert out == body or failed is not None
