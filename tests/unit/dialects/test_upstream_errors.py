"""Whom an upstream's error blames, in every dialect: a table of vendors' bodies, and the shapes that errors have."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.dialects.anthropic import errors as anthropic
from proxy.dialects.error_details import bare_json, error_event, error_in, is_error, read_error
from proxy.dialects.gemini import errors as gemini
from proxy.dialects.openai import errors as openai
from proxy.dialects.upstream_errors import kind_of
from tests.unit.dialects.vendors import CLIENTS, VENDORS, Row

FAILURE: dict[str, Callable[..., UpstreamFailure]] = {
    "openai": openai.failure,
    "anthropic": anthropic.failure,
    "gemini": gemini.failure,
}


def raw(body: Any) -> bytes:
    return body.encode() if isinstance(body, str) else json.dumps(body, ensure_ascii=False).encode()


@pytest.mark.parametrize("row", VENDORS + CLIENTS, ids=lambda row: f"{row[0]}-{row[1]}-{row[2]}")
def test_an_error_blames_the_right_side(row: Row) -> None:
    dialect, _, status, body, kind = row

    failed = FAILURE[dialect](status, {}, raw(body), 0.0)

    assert (failed.kind, failed.status) == (kind, status)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "bad_request"),
        (401, "key_rejected"),
        (402, "key_rejected"),
        (403, "key_rejected"),
        (404, "model_missing"),
        (405, "wrong_address"),
        (406, "bad_request"),
        (408, "first_token_timeout"),
        (409, "conflict"),
        (410, "model_missing"),
        (417, "bad_request"),
        (421, "wrong_address"),
        (424, "server_error"),
        (429, "rate_limited"),
        (451, "forbidden"),
        (498, "overloaded"),
        (499, "server_error"),
        (500, "server_error"),
        (503, "overloaded"),
        (504, "server_error"),
        (522, "server_error"),
        (529, "overloaded"),
        (302, "server_error"),
    ],
)
def test_a_status_tells_the_kind_where_nothing_else_does(status: int, kind: str) -> None:
    assert kind_of(status, read_error({"message": "no"})) == kind


@pytest.mark.parametrize("status", range(400, 600))
@pytest.mark.parametrize("body", [b"", b"<html>no</html>", b'{"error":{"message":"no"}}', b"no"])
def test_every_status_has_a_kind_in_every_dialect(status: int, body: bytes) -> None:
    kinds = {failure(status, {}, body, 0.0).kind for failure in FAILURE.values()}

    assert kinds <= set(FailureKind)
    assert status < 500 or FailureKind.BAD_REQUEST not in kinds
    assert not body.startswith(b"<") or FailureKind.BAD_REQUEST not in kinds


def test_a_status_of_one_api_alone_comes_first() -> None:
    said = read_error({})

    assert kind_of(504, said, {504: FailureKind.FIRST_TOKEN_TIMEOUT}) == "first_token_timeout"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({}, "forbidden"),
        ({"message": "Forbidden"}, "forbidden"),
        ({"message": "Access denied.", "code": 403, "detail": None}, "forbidden"),
        ({"message": "403 Forbidden", "code": "403", "type": "", "detail": []}, "forbidden"),
        ({"message": " " * 60_000}, "forbidden"),
        ({"message": "Forbidden: this key may not"}, "key_rejected"),
        ({"message": "Forbidden", "code": "insufficient_permissions"}, "key_rejected"),
        ({"title": "Forbidden", "detail": "Authorization failed"}, "key_rejected"),
        ({"detail": [{"msg": "no such right"}]}, "key_rejected"),
        ({"type": "permission_error"}, "key_rejected"),
    ],
)
def test_a_403_is_the_key_s_only_where_the_api_gives_a_reason(error: dict[str, Any], kind: str) -> None:
    assert kind_of(403, read_error(error)) == kind


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"error": {"message": "no"}, "type": "error"}, "no"),
        ({"error": "no"}, "no"),
        ({"error": "bad", "message": "no"}, "no"),
        ({"message": "no"}, "no"),
        ({"error": None, "detail": "no"}, "no"),
        ([{"error": "no"}], "no"),
        ({"errors": [{"message": "no"}]}, "no"),
        ({"errors": ["no"]}, "no"),
        ({"message": "no", "errors": [{"field": "x"}]}, "no"),
        ({"fault": {"faultstring": "no"}}, "no"),
        ({"error_msg": "no", "error_code": 17}, "no"),
        ({"choices": [{"error": {"message": "no", "code": 502}}]}, "no"),
        ({"choices": [{"error": "no"}]}, "no"),
        ({"base_resp": {"status_code": 1008, "status_msg": "no"}}, "no"),
        ({"Message": "no"}, "no"),
        ("no", "no"),
        (None, None),
    ],
)
def test_an_error_is_found_where_it_stands(value: Any, message: str | None) -> None:
    assert read_error(value).message == message


def test_what_holds_no_error_is_read_as_one() -> None:
    assert error_in({"error": {}}) == {}
    assert error_in(3) == {}


# One test for bodies and events: what comes with status 200, and whether it is an error.
IN_200 = [
    ({"error": {"message": "x"}}, True),
    ({"error": "x"}, True),
    ({"error": True}, True),
    ({"error": {"code": 0, "message": "x"}}, True),
    ({"error": {"message": "x"}, "choices": [{"message": {"content": "Hi"}}]}, True),
    ({"choices": [{"message": {"content": ""}, "error": {"message": "x"}}]}, True),
    ({"choices": [{"message": {}}, {"message": {}, "error": "x"}]}, True),
    ({"choices": [{"delta": {}, "finish_reason": "error"}]}, True),
    ({"object": "error", "message": "x"}, True),
    ({"object": "error"}, True),
    ({"type": "error", "message": "x"}, True),
    ({"detail": "Not Found"}, True),
    ({"detail": [{"msg": "x"}]}, True),
    ({"detail": {"code": 1}, "choices": []}, True),
    ({"message": "x", "code": 500}, True),
    ({"message": "x"}, True),
    ({"errors": [{"message": "x"}], "success": False}, True),
    ({"error_code": 17, "error_msg": "x"}, True),
    ({"fault": {"faultstring": "x"}}, True),
    ({"base_resp": {"status_code": 1008, "status_msg": "x"}, "choices": None}, True),
    ({"code": 500, "msg": "404 NOT_FOUND", "success": False}, True),
    ({"success": False}, True),
    ({"ok": False}, True),
    ({"Message": "x"}, True),
    ({"Error": {"Code": "Throttling", "Message": "x"}}, True),
    ({"errorCode": "x", "errorMessage": "y"}, True),
    ({"success": True, "choices": []}, False),
    ({"success": False, "choices": [{"message": {"content": "Hi"}}]}, False),
    ({"error_code": 0, "choices": []}, False),
    ({"error": None, "choices": [{"message": {"content": "Hi"}}]}, False),
    ({"error": "", "choices": [{"message": {"content": "Hi"}}]}, False),
    ({"error": {}, "choices": [{"message": {"content": "Hi"}}]}, False),
    ({"error": {"message": None, "code": None}, "choices": [{"message": {}}]}, False),
    ({"error": False, "choices": [{"message": {}}]}, False),
    ({"error": None, "choices": []}, False),
    ({"choices": [{"message": {"content": "Hi"}, "error": None, "finish_reason": "stop"}]}, False),
    ({"choices": [{"message": {"content": "Hi"}}], "message": "x", "detail": "y"}, False),
    ({"base_resp": {"status_code": 0, "status_msg": "success"}, "choices": [{"message": {}}]}, False),
    ({"choices": [], "usage": {}}, False),
    ({"type": "ping"}, False),
    ({"choices": [3]}, False),
    ({"choices": "x"}, False),
    ({}, False),
]


@pytest.mark.parametrize(("value", "wanted"), IN_200)
def test_an_error_in_a_200_is_told_from_an_answer(value: dict[str, Any], wanted: bool) -> None:
    assert is_error(value) is wanted


def test_the_member_of_an_answer_is_the_api_s() -> None:
    assert not is_error({"message": "x", "candidates": [{}]}, "candidates")
    assert is_error({"message": "x", "choices": [{}]}, "candidates")


@pytest.mark.parametrize(
    ("event", "wanted"),
    [
        (b"event: error\ndata: {}\n\n", True),
        (b"event:error\r\ndata: {}\r\n\r\n", True),
        (b"id: 1\nevent: error\ndata: {}\n\n", True),
        (b"event: message\ndata: {}\n\n", False),
        (b"event: errors\ndata: {}\n\n", False),
        (b"data: {}\n\n", False),
        (b": error\n\n", False),
    ],
)
def test_the_name_of_an_event_may_say_that_it_is_an_error(event: bytes, wanted: bool) -> None:
    assert error_event(event) is wanted


def test_an_object_between_events_is_found() -> None:
    assert bare_json(b'{"error": "x"}\n\n') == {"error": "x"}
    assert bare_json(b'[{"error": "x"}]\n\n') == {"error": "x"}
    assert bare_json(b'error: {"message": "x"}\n\n') == {"message": "x"}
    assert bare_json(b"[]\n\n") == []
    assert bare_json(b": comment\n\n") is None
    assert bare_json(b"{half\n\n") is None


def test_a_model_that_is_being_loaded_says_when_to_come_back() -> None:
    body = b'{"error": "Model x is currently loading", "estimated_time": 20.5}'

    assert openai.failure(503, {}, body, 0.0).retry_after == 20.5
    assert openai.failure(503, {"retry-after": "3"}, body, 0.0).retry_after == 3.0


def test_plain_text_about_the_request_passes_as_its_message() -> None:
    assert str(openai.failure(422, {}, b"missing field `messages` ", 0.0)) == "missing field `messages`"
