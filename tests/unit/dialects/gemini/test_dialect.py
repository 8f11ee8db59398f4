"""The dialect as a whole: addresses, headers, and that a signature finds its way back."""

from __future__ import annotations

import json

import pytest

from proxy.core.failures import FailureKind
from proxy.core.model import ProviderKey
from proxy.core.recall import Recall
from tests.support.fakes import FakeClock
from tests.unit.dialects.gemini.build import BASE, KEY, call, chunk, dialect, message, read, sse, target

VERTEX = "https://aiplatform.googleapis.com/v1/projects/p/locations/global/publishers/google"


@pytest.mark.parametrize(
    ("base", "url"),
    [
        (BASE, f"{BASE}/v1beta/models/gemini-flash:generateContent"),
        (f"{BASE}/", f"{BASE}/v1beta/models/gemini-flash:generateContent"),
        (f"{BASE}/v1beta", f"{BASE}/v1beta/models/gemini-flash:generateContent"),
        (f"{BASE}/v1", f"{BASE}/v1/models/gemini-flash:generateContent"),
    ],
)
def test_the_version_is_put_in_where_the_base_url_has_none(base: str, url: str) -> None:
    assert dialect().request(call({}), target(base_url=base), KEY).url == url


def test_a_streamed_call_asks_for_events() -> None:
    request = dialect().request(call({"stream": True}), target(), KEY)

    assert request.url == f"{BASE}/v1beta/models/gemini-flash:streamGenerateContent?alt=sse"
    assert request.headers["accept"] == "text/event-stream"


def test_a_model_id_cannot_leave_its_place_in_the_path() -> None:
    request = dialect().request(call({}), target(model="../../x?y#z"), KEY)

    assert request.url == f"{BASE}/v1beta/models/..%2F..%2Fx%3Fy%23z:generateContent"


def test_a_tuned_model_keeps_its_collection() -> None:
    request = dialect().request(call({}), target(model="tunedModels/mine"), KEY)

    assert request.url == f"{BASE}/v1beta/tunedModels/mine:generateContent"


def test_the_key_goes_into_googles_header() -> None:
    request = dialect().request(call({}), target(), KEY)

    assert request.headers["x-goog-api-key"] == KEY.value
    assert "authorization" not in request.headers


def test_vertex_has_its_own_path_and_takes_an_access_token() -> None:
    request = dialect().request(call({}), target(base_url=VERTEX, vertex=True), KEY)

    assert request.url == f"{VERTEX}/models/gemini-flash:generateContent"
    assert request.headers["authorization"] == f"Bearer {KEY.value}"
    assert "x-goog-api-key" not in request.headers


def test_another_header_for_the_key_is_used_as_configured() -> None:
    request = dialect().request(call({}), target(auth_header="X-Key"), KEY)

    assert request.headers["x-key"] == KEY.value


def test_an_access_token_may_be_used_without_vertex() -> None:
    request = dialect().request(call({}), target(auth_header="Authorization"), KEY)

    assert request.headers["authorization"] == f"Bearer {KEY.value}"


def test_a_keyless_provider_gets_no_credential() -> None:
    request = dialect().request(call({}), target(), None)

    assert not {"authorization", "x-goog-api-key"} & request.headers.keys()


def test_provider_headers_and_allowed_client_headers_are_sent() -> None:
    given = {"traceparent": "00-a-b-01", "cookie": "c", "content-type": "text/plain"}

    request = dialect().request(call({}, given), target(headers={"X-Goog-User-Project": "p"}), KEY)

    assert request.headers["traceparent"] == "00-a-b-01"
    assert request.headers["x-goog-user-project"] == "p"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert "cookie" not in request.headers


def test_a_scenarios_parameters_win_over_the_clients() -> None:
    request = dialect().request(call({"temperature": 1}), target(overrides={"temperature": 0.2}), KEY)

    assert json.loads(request.content)["generationConfig"] == {"temperature": 0.2}


def test_a_signature_comes_back_from_a_client_that_forgets_it() -> None:
    recall = Recall(FakeClock())
    part = {"functionCall": {"name": "f", "args": {"x": 1}}, "thoughtSignature": "c2ln"}
    [made] = message(chunk(part, finish="STOP"), recall=recall)["tool_calls"]

    forgetful = {"id": made["id"], "type": "function", "function": made["function"]}
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "tool_calls": [forgetful]},
        {"role": "tool", "tool_call_id": made["id"], "content": "1"},
    ]
    request = dialect(recall).request(call({"messages": turns}), target(), KEY)

    said = json.loads(request.content)["contents"][1]["parts"][0]
    assert said == {"functionCall": {"id": made["id"], "name": "f", "args": {"x": 1}}, "thoughtSignature": "c2ln"}


def test_a_failure_is_classified() -> None:
    body = json.dumps({"error": {"code": 404, "message": "no such model", "status": "NOT_FOUND"}}).encode()

    failure = dialect().failure(404, {}, body, 0.0)

    assert (failure.kind, str(failure), failure.native) == (FailureKind.MODEL_MISSING, "no such model", None)


def test_the_answer_has_the_ids_of_the_upstream_or_else_ours() -> None:
    named = read(dialect().decoder(call({}), target(), {}), [json.dumps(chunk({"text": "a"}, finish="STOP")).encode()])
    bare = b'{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}'
    unnamed = read(dialect().decoder(call({}), target(), {}), [bare])

    assert [json.loads(named)[name] for name in ("id", "model")] == ["chatcmpl-abc", "gemini-flash-001"]
    assert [json.loads(unnamed)[name] for name in ("id", "model")] == ["chatcmpl-1", "gemini-flash"]


def test_a_client_of_the_older_functions_gets_a_function_call() -> None:
    older = call({"stream": True, "functions": [{"name": "f"}]})
    wire = sse(chunk({"functionCall": {"name": "f", "args": {"x": 1}}}, finish="STOP"))

    out = read(dialect().decoder(older, target(), {}), [wire])

    assert b'"function_call":{"name":"f","arguments":""}' in out
    assert b'"function_call":{"arguments":"{\\"x\\": 1}"}' in out
    assert b'"finish_reason":"function_call"' in out
    assert b"tool_calls" not in out


def test_a_key_with_a_value_is_not_in_the_url() -> None:
    request = dialect().request(call({}), target(), ProviderKey("k", "hidden"))

    assert "hidden" not in request.url
