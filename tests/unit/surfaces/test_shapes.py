"""The format of errors outside of calls."""

from __future__ import annotations

import json

import pytest

from proxy.core.errors import NotFound
from proxy.surfaces.shapes import error_for


@pytest.mark.parametrize(
    ("path", "headers", "is_anthropic"),
    [
        ("/v1/messages", [], True),
        ("/v1/messages/batches", [], True),
        ("/v1/messages", [(b"x-goog-api-key", b"key")], True),
        ("/v1/messagesx", [], False),
        ("/v1/models", [(b"anthropic-version", b"2023-06-01")], True),
        ("/v1/models", [(b"authorization", b"Bearer x")], False),
    ],
)
def test_errors_are_in_the_client_s_shape(path: str, headers: list[tuple[bytes, bytes]], is_anthropic: bool) -> None:
    body = json.loads(error_for(NotFound("no"), path, headers))

    if is_anthropic:
        assert body == {"type": "error", "error": {"type": "not_found_error", "message": "no"}, "request_id": None}
    else:
        assert body["error"]["code"] == "not_found"
