"""The typed view of a piece of text changes nothing."""

from __future__ import annotations

import pytest

from proxy.dialects.gemini import stream as gemini_stream
from proxy.dialects.gemini.typed import text_chunk_of
from tests.support.exact import ODD_VALUES, states
from tests.unit.dialects.gemini.build import chunk, decoder, sse

PART = '{"text": "x"}'
VALUES = [value for value in ODD_VALUES if value != "1e999"]  # rejected, even in members that are not read
MEMBERS = ("usageMetadata", "promptFeedback", "error", "object", "type", "candidates", "responseId", "x", "x\udcff")
CANDIDATE_MEMBERS = ("index", "finishReason", "finish_reason", "error", "content", "safetyRatings", "groundingMetadata")
PART_MEMBERS = ("text", "thought", "thoughtSignature", "functionCall", "inlineData", "x")
COUNTS = ("promptTokenCount", "candidatesTokenCount", "cachedContentTokenCount", "x")


def odd_chunks() -> list[bytes]:
    texts = []
    for value in VALUES:
        texts += [
            value,
            f'{{"candidates": [{value}]}}',
            f'{{"candidates": [{{"content": {{"parts": [{PART}, {value}]}}}}]}}',
        ]
        for name in MEMBERS:
            texts.append(f'{{"candidates": [{{"content": {{"parts": [{PART}]}}}}], "{name}": {value}}}')
        for name in CANDIDATE_MEMBERS:
            texts.append(f'{{"candidates": [{{"content": {{"parts": [{PART}]}}, "{name}": {value}}}]}}')
        for name in PART_MEMBERS:
            texts.append(f'{{"candidates": [{{"content": {{"parts": [{{"text": "x", "{name}": {value}}}]}}}}]}}')
            texts.append(f'{{"candidates": [{{"content": {{"parts": [{{"{name}": {value}}}]}}}}]}}')
        for name in COUNTS:
            for counts in (f'"promptTokenCount": 2, "{name}": {value}', f'"{name}": {value}'):
                texts.append(f'{{"candidates": [{{"content": {{"parts": [{PART}]}}}}], "usageMetadata": {{{counts}}}}}')
    return [f"data: {text}\r\n\r\n".encode("utf-8", "surrogateescape") for text in texts]


BEGUN = chunk({"text": "A"})


@pytest.mark.parametrize("before", [b"", sse(BEGUN), sse(BEGUN, chunk({"text": "A"}, finish="STOP"))])
def test_odd_chunks_are_read_as_without_typed_views(before: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    last, chunks = sse(chunk({"text": "B"}, finish="STOP")), odd_chunks()
    typed = [states(decoder(), [before, odd + odd, last]) for odd in chunks]
    monkeypatch.setattr(gemini_stream, "text_chunk_of", lambda text: None)
    exact = [states(decoder(), [before, odd + odd, last]) for odd in chunks]

    assert [odd for odd, one, other in zip(chunks, typed, exact, strict=True) if one != other] == []


def test_ordinary_chunks_fit() -> None:
    counts = (
        '"usageMetadata": {"promptTokenCount": 2, "promptTokensDetails": [{"modality": "TEXT"}]}, "modelVersion": "g"'
    )
    text = f'{{"candidates": [{{"content": {{"parts": [{PART}], "role": "model"}}, "index": 0}}], {counts}}}'

    assert text_chunk_of(text.encode()) is not None
    assert text_chunk_of(text.replace("}]", ', "thought": true}]', 1).encode()) is not None
