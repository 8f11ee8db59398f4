"""Answers that are held back until they are whole."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.dialects import held
from proxy.dialects.gemini.embeddings import EmbeddingsDecoder
from proxy.dialects.held import HeldAnswer
from proxy.dialects.openai.passed import PassedJson
from proxy.dialects.openai.plain import JsonDecoder


@pytest.mark.parametrize(
    "made", [JsonDecoder, lambda: PassedJson("images"), lambda: EmbeddingsDecoder({"input": "Hi"}, "m")]
)
def test_an_answer_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch, made: Callable[[], HeldAnswer]) -> None:
    monkeypatch.setattr(held, "LIMIT", 100)
    decoder = made()

    assert decoder.feed(b"x" * 100) == b""
    with pytest.raises(UpstreamFailure, match="larger than") as failed:
        decoder.feed(b"x")

    assert failed.value.kind == FailureKind.MALFORMED
    assert not decoder.committed
