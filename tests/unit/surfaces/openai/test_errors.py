"""Errors in OpenAI's format."""

from __future__ import annotations

import json

from proxy.core.errors import ModelNotFound, NotAllowed, UpstreamError, UpstreamRejected
from proxy.surfaces.openai.errors import error_body, error_event


def test_body_has_message_type_param_and_code() -> None:
    body = error_body(NotAllowed("What to do.", param="p", code="c"))

    assert json.loads(body) == {
        "error": {"message": "What to do.", "type": "permission_error", "param": "p", "code": "c"}
    }


def test_event_is_the_body_as_data() -> None:
    error = UpstreamError("one\ntwo")

    assert error_event(error) == b"data: " + error_body(error) + b"\n\n"
    assert error_event(error).count(b"\n") == 2


def test_half_a_surrogate_pair_becomes_a_question_mark() -> None:
    assert json.loads(error_body(ModelNotFound("no model \ud800")))["error"]["message"] == "no model ?"


def test_body_of_the_upstream_keeps_its_bytes() -> None:
    native = b'{"error": {"message":"bad"} }'

    assert error_body(UpstreamRejected("bad", 422, native, {})) == native


def test_event_of_the_upstream_keeps_its_bytes() -> None:
    error = UpstreamError("busy")
    error.native_event = b'event: error\ndata:{"error":{"message":"busy"}}\n\n'

    assert error_event(error) == error.native_event


def test_rejection_in_another_format_is_rewritten() -> None:
    error = UpstreamRejected("bad", 409, None, {"param": "x", "code": "y"})

    assert json.loads(error_body(error))["error"] == {
        "message": "bad",
        "type": "invalid_request_error",
        "param": "x",
        "code": "y",
    }
