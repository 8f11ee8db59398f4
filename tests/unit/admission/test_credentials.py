"""The credential of a request: one of three headers, and never two different ones."""

from __future__ import annotations

import pytest

from proxy.admission.credentials import credential_of, joined
from proxy.core.errors import InvalidRequest, NotAuthenticated


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer sb-one"},
        {"authorization": "bearer  sb-one "},
        {"x-api-key": "sb-one"},
        {"x-goog-api-key": "sb-one"},
        {"authorization": "Bearer sb-one", "x-api-key": "sb-one", "x-goog-api-key": "sb-one"},
        {"authorization": "Bearer sb-one, Bearer sb-one"},
        {"x-api-key": "sb-one, sb-one"},
        {"authorization": "Bearer ", "x-api-key": "sb-one"},
    ],
)
def test_a_credential_is_found_in_each_header(headers: dict[str, str]) -> None:
    assert credential_of(headers) == "sb-one"


@pytest.mark.parametrize("headers", [{}, {"authorization": ""}, {"authorization": "Bearer"}, {"x-api-key": " "}])
def test_without_a_credential_there_is_none(headers: dict[str, str]) -> None:
    assert credential_of(headers) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer sb-one", "x-api-key": "sb-two"},
        {"x-goog-api-key": "sb-one", "x-api-key": "sb-two"},
        {"authorization": "Bearer sb-one, Bearer sb-two"},
        {"x-api-key": "sb-one, sb-two"},
    ],
)
def test_two_different_credentials_are_rejected(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        credential_of(headers)


@pytest.mark.parametrize("value", ["Basic c2I6", "sb-one", "Bearer sb-one, Basic c2I6"])
def test_another_scheme_is_rejected(value: str) -> None:
    with pytest.raises(NotAuthenticated):
        credential_of({"authorization": value})


def test_repeated_headers_are_joined() -> None:
    assert joined([(b"x-api-key", b"a"), (b"x", b"1"), (b"x-api-key", b"b")]) == {"x-api-key": "a, b", "x": "1"}
