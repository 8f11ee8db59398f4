import json

import pytest

from proxy.core.errors import InvalidRequest, UpstreamError
from proxy.surfaces.responses.surface import RESPONSES


@pytest.mark.parametrize(
    ("param", "shown"),
    [
        ("messages", "input"),
        ("messages[2].content[0]", "input"),
        ("max_completion_tokens", "max_output_tokens"),
        ("input[2].content", "input[2].content"),
        (None, None),
    ],
)
def test_error_names_the_clients_parameter(param: str | None, shown: str | None) -> None:
    body = json.loads(RESPONSES.error(InvalidRequest("no", param=param)))

    assert body == {"error": {"message": "no", "type": "invalid_request_error", "param": shown, "code": None}}


@pytest.mark.parametrize("name", ["responses", "chat"])
def test_error_of_a_provider_passes(name: str) -> None:
    error = UpstreamError("no")
    error.native_body, error.native_format = b'{"error":{"message":"theirs"}}', name

    assert RESPONSES.error(error) == error.native_body


def test_error_in_another_format_is_written_anew() -> None:
    error = UpstreamError("no")
    error.native_body, error.native_event, error.native_format = b"{}", b"event: error\n\n", "messages"

    assert json.loads(RESPONSES.error(error))["error"]["message"] == "no"
    assert b'"type":"response.failed"' in RESPONSES.event(error)


def test_last_event_of_a_provider_passes() -> None:
    error = UpstreamError("no")
    error.native_event, error.native_format = b"event: response.failed\ndata: {}\n\n", "responses"

    assert RESPONSES.event(error) == error.native_event
