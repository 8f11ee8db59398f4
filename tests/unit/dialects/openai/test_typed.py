"""Typed views: a fast path that decides exactly as the one that reads everything with the `json` module."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.usage import UsageBounds
from proxy.dialects.openai.passed import PassedJson
from proxy.dialects.openai.plain import JsonDecoder, completion_of
from proxy.dialects.openai.stream import StreamDecoder
from proxy.dialects.openai.typed import chunk_of, vectors_of
from tests.support.exact import (
    ExactDecoder,
    ExactJsonDecoder,
    ExactPassedJson,
    odd_answers,
    odd_chunks,
    odd_embeddings,
    states,
)

TEXT = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
SECOND = b'data: {"choices":[{"index":1,"delta":{"content":"x"}}]}\n\n'
DONE = b"data: [DONE]\n\n"


def wire(text: str, end: str = "") -> bytes:
    return (text + end).encode("utf-8", "surrogateescape")


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\n\n\n"])
@pytest.mark.parametrize(("before", "choices"), [([], 1), ([TEXT], 1), ([TEXT, SECOND, STOP], 2)])
def test_odd_chunks_are_read_as_without_typed_views(before: list[bytes], choices: int, end: str) -> None:
    for text in odd_chunks():
        odd = wire(text, end)
        for pieces in ([odd, TEXT, STOP], [odd + TEXT + STOP], [TEXT + odd, STOP + DONE]):
            typed = StreamDecoder(choices=choices, drop_usage=True)
            exact = ExactDecoder(choices=choices, drop_usage=True)
            assert states(typed, [*before, *pieces]) == states(exact, [*before, *pieces]), text


def test_odd_answers_are_read_as_without_typed_views() -> None:
    for text in odd_answers():
        assert states(JsonDecoder(), [wire(text)]) == states(ExactJsonDecoder(), [wire(text)]), text


COUNTS = st.sampled_from([0, 1, 5, 10, 25, -1, 10**30, 2.0, 2.5, True, None, "7", {}, []])
DETAILS = ("cached_tokens", "cache_write_tokens", "reasoning_tokens", "audio_tokens", "image_tokens")
USAGES = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens", "prompt_cache_hit_tokens"), COUNTS),
        **{
            name: COUNTS | st.dictionaries(st.sampled_from(DETAILS), COUNTS)
            for name in ("prompt_tokens_details", "completion_tokens_details", "input_tokens_details")
        },
    },
)
PLAIN = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "total_tokens": 15,
    "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 2, "accepted_prediction_tokens": 0},
}


TIERS = st.sampled_from([None, "flex", "default", "new"])


@given(USAGES | USAGES.map(lambda usage: PLAIN | usage) | COUNTS, TIERS, TIERS)
def test_usage_is_read_as_without_typed_views(usage: object, service: str | None, asked: str | None) -> None:
    value = {"choices": [{"message": {}}], "usage": usage, "service_tier": service}
    bounds = UsageBounds(20, 20, asked, lambda: UsageBounds(40, 40))

    typed, exact = (states(made(bounds), [json.dumps(value).encode()]) for made in (JsonDecoder, ExactJsonDecoder))

    assert typed == exact


def test_usage_within_exact_bounds_is_not_clamped() -> None:
    body = json.dumps({"choices": [{"message": {}}], "usage": PLAIN}).encode()

    found = [states(JsonDecoder(UsageBounds(9, 4, exact=exact)), [body])[-1][5] for exact in (UsageBounds, None)]

    assert [usage and usage.source for usage in found] == ["reported", "clamped"]


@pytest.mark.parametrize("least", [1, 2])
def test_odd_embeddings_are_read_as_without_typed_views(least: int) -> None:
    for text in odd_embeddings():
        decoders = (PassedJson("embeddings", least=least), ExactPassedJson("embeddings", least=least))
        typed, exact = (states(decoder, [wire(text)]) for decoder in decoders)
        assert typed == exact, text


@pytest.mark.parametrize(
    "event",
    [
        TEXT,
        STOP,
        TEXT.replace(b"\n", b"\r\n"),
        TEXT.replace(b"x", "é".encode()),
        b'data: {"choices":[{"index":1,"delta":{"tool_calls":[{"index":0}]}}],"usage":{"prompt_tokens":1}}\n\n',
        b'data: {"object":"text_completion","choices":[{"text":"x","error":null}],"error":null}\n\n',
    ],
)
def test_ordinary_chunks_fit(event: bytes) -> None:
    assert chunk_of(event) is not None


def test_ordinary_answers_fit() -> None:
    usage = b'"usage":{"prompt_tokens":1}'

    assert completion_of(b'{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}],%s}' % usage) is not None
    assert vectors_of(b'{"object":"list","data":[{"embedding":[0.1]},{"embedding":"AA=="}],%s}' % usage, 2) is not None


def test_a_chunk_of_whole_ordinary_events_is_returned_as_it_is() -> None:
    chunk = TEXT + TEXT + STOP

    assert StreamDecoder(choices=1, drop_usage=True).feed(chunk) is chunk


@pytest.mark.parametrize("name", ["chat", "embeddings"])
def test_large_answers_of_very_many_values_do_not_fit(name: str) -> None:
    many = b"[" + b"0," * 9_000_000 + b"0]"

    assert completion_of(b'{"choices":[{"message":{}}],"x":%s}' % many) is None
    assert vectors_of(b'{"data":[{"embedding":%s}]}' % many, 1) is None
