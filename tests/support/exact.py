"""Decoders without typed views, and JSON that parsers are known to read in different ways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from proxy.core.failures import UpstreamFailure
from proxy.dialects.base import Decoder
from proxy.dialects.openai.passed import PassedJson
from proxy.dialects.openai.plain import JsonDecoder
from proxy.dialects.openai.stream import StreamDecoder

ODD_VALUES = (
    *("0", "1", "1.0", "0.0", "-0", "1e0", "01", "9", "true", "null", '"0"', "NaN", "-Infinity", "1e999", ".5"),
    *("1" * 30, "1" * 700, "[]", "{}", "[{}]", "[1]", "[null]", "[1,]", "{", "}", "[", "", "[" * 1200, '{"a": 1}'),
    *('""', '"x"', '"', '"é"', '"\udcff"', '"\\ud800"', '"\\ud83d\\ude00"', '"\\x"', '"\x01"', '"\x7f"', '"\\u12"'),
    *(
        '{"blockReason": "SAFETY"}',
        '"error"',
        '"\\u0065rror"',
        '"stop"',
        '"eos"',
        '{"code": 1}',
        '{"message": "broke"}',
        '{"prompt_tokens": 2}',
    ),
    *(
        "{}\n{}",
        "{} {}",
        '{"a":\n1}',
        "1\ndata: 2",
        "1\n: x",
        "1\r2",
        "\r1",
        "1\r",
        "\n1",
        '{"a": 1}\n{\n}',
        '{"prompt_tokens": 1e2}',
    ),
    *('"x", "error": {"message": "broke"}', '1, "choices": []', '1, "index": 1', '1}, {"index": 1'),
)
_MEMBERS = ("choices", "usage", "object", "type", "error", "\\u0065rror", "detail", "x", "x\udcff")
_CHOICE_MEMBERS = ("index", "finish_reason", "delta", "text", "error", "message", "x", "x\udcff", "embedding")
_DELTA_MEMBERS = ("content", "tool_calls", "function_call", "audio", "refusal", "x")


def odd_chunks() -> list[str]:
    """Events with a chunk that has one odd value; surrogates stand for bytes that are not UTF-8."""
    return [f"data: {text}" for text in _odd_objects("choices", '"delta": {"content": "y"}')]


def odd_answers() -> list[str]:
    """Chat completions with one odd value."""
    return list(_odd_objects("choices", '"message": {"content": "y"}'))


def odd_embeddings() -> list[str]:
    """Lists of embeddings with one odd value."""
    return list(_odd_objects("data", '"embedding": [0.5]'))


def _odd_objects(answer: str, item: str) -> Iterator[str]:
    for value in ODD_VALUES:
        yield value
        yield f'{{"{answer}": [{{{item}}}, {value}]}}'
        yield f'{{"{answer}": [{{{item}}}]}}{value}'
        for name in _MEMBERS:
            yield f'{{"{answer}": [{{{item}}}], "{name}": {value}}}'
        for name in _CHOICE_MEMBERS:
            yield f'{{"{answer}": [{{"{name}": {value}}}]}}'
            yield f'{{"{answer}": [{{{item}, "{name}": {value}}}]}}'
        for name in _DELTA_MEMBERS:
            yield f'{{"{answer}": [{{"delta": {{"{name}": {value}}}}}]}}'


class ExactDecoder(StreamDecoder):
    """Reads every event with the `json` module."""

    def feed(self, chunk: bytes) -> bytes:
        if not self.committed:
            self._hold(len(chunk))
        return super(StreamDecoder, self).feed(chunk)

    def _take(self, event: bytes) -> bool | bytes:
        return super(StreamDecoder, self)._take(event)


class ExactJsonDecoder(JsonDecoder):
    """Reads every answer with the `json` module."""

    def _typed(self, body: bytes) -> None:
        return None


class ExactPassedJson(PassedJson):
    """Reads every answer of an endpoint with the `json` module."""

    def _typed(self, body: bytes) -> None:
        return None


def states(decoder: Decoder, pieces: list[bytes]) -> list[Any]:
    """What a decoder returns after each piece and at the end, with its state; a failure comes last."""
    found: list[Any] = []
    for piece in [*pieces, None]:
        try:
            out = decoder.finish() if piece is None else decoder.feed(piece)
        except UpstreamFailure as failure:
            return [*found, (failure.kind, str(failure), failure.partial, failure.native)]
        fault = decoder.fault and (decoder.fault.kind, str(decoder.fault), decoder.fault.code, decoder.fault.event)
        state = (decoder.committed, decoder.complete, decoder.closed, decoder.passed_error)
        found.append((out, *state, decoder.usage, decoder.native_finish, fault))
    return found
