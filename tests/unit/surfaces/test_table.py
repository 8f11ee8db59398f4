"""The table of endpoints."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.core.call import RouterOptions
from proxy.core.errors import UpstreamError
from proxy.surfaces.openai.debug import DebugAnswer, DebugStream
from proxy.surfaces.openai.errors import error_body, error_event
from proxy.surfaces.openai.surface import OpenAISurface
from proxy.surfaces.table import SURFACES
from tests.support.calls import call, record

OPENAI = {path: surface for path, surface in SURFACES.items() if isinstance(surface, OpenAISurface)}
DEBUG = RouterOptions(debug=True)
GOOGLE = {
    f"/{version}/models/{{model:path}}:{operation}"
    for version in ("v1beta", "v1")
    for operation in ("generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents")
}


def test_every_endpoint_has_its_path() -> None:
    assert set(SURFACES) == {
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/moderations",
        "/v1/images/generations",
        "/v1/audio/speech",
        "/v1/audio/transcriptions",
        "/v1/audio/translations",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/v1/responses",
        *GOOGLE,
        "/v1/responses/compact",
        "/v1/responses/input_tokens",
    }


def test_openai_answers_need_no_encoder() -> None:
    for path, surface in OPENAI.items():
        assert surface.encoder(call(), record(), "text/event-stream", native=False) is None, path


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [("application/json", DebugAnswer), ("text/event-stream; charset=utf-8", DebugStream), ("audio/mpeg", type(None))],
)
def test_debugged_answer_has_an_encoder_for_its_type(content_type: str, kind: type) -> None:
    encoder = SURFACES["/v1/chat/completions"].encoder(
        replace(call(), options=DEBUG), record(), content_type, native=False
    )

    assert type(encoder) is kind


def test_errors_are_in_the_format_of_openai() -> None:
    error = UpstreamError("broke")

    for surface in OPENAI.values():
        assert (surface.error(error), surface.event(error)) == (error_body(error), error_event(error))
