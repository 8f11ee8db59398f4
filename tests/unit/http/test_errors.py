"""Errors as HTTP answers."""

from __future__ import annotations

import json

import pytest
from starlette.types import Message

from proxy.core.errors import InvalidRequest, ProxyError, RequestTimeout, RequestTooLarge, Unavailable, UpstreamRejected
from proxy.http.errors import response_for, send_error


def test_an_answer_has_the_error_s_status_headers_and_body() -> None:
    error = InvalidRequest("No.", param="model", retryable=False)
    error.headers = {"x-router-id": "req_1"}

    response = response_for(error)

    assert response.status_code == 400
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-router-id"] == "req_1"
    assert response.headers["x-should-retry"] == "false"
    assert json.loads(response.body)["error"]["param"] == "model"
    assert "connection" not in response.headers


def test_a_provider_s_own_body_goes_out_to_the_byte() -> None:
    native = b'{"error": {"message":"bad"} }'

    response = response_for(UpstreamRejected("bad", 422, native, {}))

    assert (response.status_code, response.body) == (422, native)


@pytest.mark.parametrize(
    ("error", "closes"),
    [
        (RequestTooLarge("x"), True),
        (RequestTimeout("x"), True),
        (Unavailable("x", code="draining"), True),
        (Unavailable("x", code="overloaded"), False),
    ],
)
def test_a_connection_of_no_more_use_is_closed(error: ProxyError, closes: bool) -> None:
    assert ("connection" in response_for(error).headers) is closes


@pytest.mark.anyio
async def test_a_plain_endpoint_sends_it_whole() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await send_error(Unavailable("Later.", retry_after=2.0), send)

    start, body = sent
    headers = dict(start["headers"])
    assert (start["type"], start["status"]) == ("http.response.start", 503)
    assert headers[b"retry-after"] == b"2"
    assert int(headers[b"content-length"]) == len(body["body"])
    assert (body["type"], body["more_body"]) == ("http.response.body", False)
