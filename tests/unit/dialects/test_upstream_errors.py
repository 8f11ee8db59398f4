"""What the errors of all APIs have in common; what is of one API alone is in its own tests."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.failures import FailureKind
from proxy.dialects.upstream_errors import error_in, kind_of_status


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "bad_request"),
        (401, "key_rejected"),
        (402, "key_rejected"),
        (403, "key_rejected"),
        (404, "model_missing"),
        (408, "first_token_timeout"),
        (409, "bad_request"),
        (429, "rate_limited"),
        (499, "bad_request"),
        (500, "server_error"),
        (503, "overloaded"),
        (504, "server_error"),
        (529, "overloaded"),
        (302, "server_error"),
    ],
)
def test_a_status_tells_the_kind_where_nothing_else_does(status: int, kind: str) -> None:
    assert kind_of_status(status, {"message": "no"}) == kind


def test_a_status_of_one_api_alone_comes_first() -> None:
    own = {498: FailureKind.OVERLOADED, 503: FailureKind.SERVER_ERROR}

    assert [kind_of_status(status, {}, own) for status in (498, 503, 529)] == [
        "overloaded",
        "server_error",
        "overloaded",
    ]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({}, "forbidden"),
        ({"message": "Forbidden"}, "forbidden"),
        ({"message": "Access denied.", "code": 403, "detail": None}, "forbidden"),
        ({"message": "403 Forbidden", "code": "403", "type": "", "detail": []}, "forbidden"),
        ({"message": "Forbidden: this key may not"}, "key_rejected"),
        ({"message": "Forbidden", "code": "insufficient_permissions"}, "key_rejected"),
        ({"title": "Forbidden", "detail": "Authorization failed"}, "key_rejected"),
        ({"detail": [{"msg": "no such right"}]}, "key_rejected"),
        ({"type": "permission_error"}, "key_rejected"),
    ],
)
def test_a_403_is_the_key_s_only_where_the_api_gives_a_reason(error: dict[str, Any], kind: str) -> None:
    assert kind_of_status(403, error) == kind


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({"error": {"message": "no"}, "type": "error"}, {"message": "no"}),
        ({"error": "no"}, {"message": "no"}),
        ({"message": "no"}, {"message": "no"}),
        ({"error": None, "detail": "no"}, {"error": None, "detail": "no"}),
        ([{"error": "no"}], {}),
        ("no", {}),
        (None, {}),
    ],
)
def test_an_error_is_found_where_it_stands(value: Any, error: dict[str, Any]) -> None:
    assert error_in(value) == error
