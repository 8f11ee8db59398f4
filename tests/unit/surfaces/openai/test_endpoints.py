"""The bodies of the endpoints beside chat: read as far as routing needs it, and no further."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.call import Call
from proxy.core.errors import InvalidRequest
from proxy.surfaces.openai.endpoints import PASSED, Endpoint, read_passed
from tests.support.calls import snapshot

BY_NAME = {endpoint.name: endpoint for endpoint in PASSED}
JSON = [endpoint for endpoint in PASSED if not endpoint.form]
FORMS = [endpoint for endpoint in PASSED if endpoint.form]
FORM = "multipart/form-data; boundary=B"
each_json = pytest.mark.parametrize("endpoint", JSON, ids=lambda endpoint: endpoint.name)
each_form = pytest.mark.parametrize("endpoint", FORMS, ids=lambda endpoint: endpoint.name)


def read(endpoint: Endpoint, raw: bytes, headers: dict[str, str] | None = None) -> Call:
    return read_passed(endpoint, raw, headers or {}, id="req_1", request_id="theirs", snapshot=snapshot())


def body(endpoint: Endpoint, **members: Any) -> bytes:
    return json.dumps({"model": "acme/x", endpoint.needs: "some text", **members}).encode()


def form(*fields: tuple[str, str], file: bytes = b"\x00\r\n") -> bytes:
    parts = [f'--B\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields]
    sound = b'--B\r\ncontent-disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n' + file + b"\r\n"
    return "".join(parts).encode() + sound + b"--B--\r\n"


def refused(endpoint: Endpoint, raw: bytes, headers: dict[str, str] | None = None) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as found:
        read(endpoint, raw, headers)
    return found.value


def test_every_endpoint_has_a_path_and_a_kind_of_model() -> None:
    assert {endpoint.path: endpoint.kind for endpoint in PASSED} == {
        "/completions": "completion",
        "/embeddings": "embedding",
        "/moderations": "moderation",
        "/images/generations": "image",
        "/audio/speech": "audio",
        "/audio/transcriptions": "audio",
        "/audio/translations": "audio",
    }


@each_json
def test_a_call_has_what_routing_needs(endpoint: Endpoint) -> None:
    raw = body(endpoint, router={"debug": True}, unknown=[1])

    call = read(endpoint, raw, {"accept": "*/*", "authorization": "secret", "x-router-client-id": "app"})

    assert (call.endpoint, call.kind, call.raw, call.model) == (endpoint.name, endpoint.kind, raw, "acme/x")
    assert call.body == {"model": "acme/x", endpoint.needs: "some text", "unknown": [1]}
    assert (call.stream, call.usage_asked, call.options.debug) == (False, False, True)
    assert (call.options.client_id, call.headers) == ("app", {"accept": "*/*"})
    assert raw[call.spans["model"].value : call.spans["model"].end] == b'"acme/x"'


@each_json
@pytest.mark.parametrize("value", [None, "", 7, ["a"]])
def test_without_a_model_there_is_no_call(endpoint: Endpoint, value: Any) -> None:
    raw = body(endpoint, model=value)

    if endpoint.default_model and not value:
        assert read(endpoint, raw).model == endpoint.default_model
    else:
        assert refused(endpoint, raw).param == "model"


def test_moderations_need_no_model() -> None:
    call = read(BY_NAME["moderations"], b'{"input":"some text"}')

    assert (call.model, "model" in call.spans) == ("auto", False)


@each_json
def test_what_an_endpoint_cannot_do_without_is_asked_for(endpoint: Endpoint) -> None:
    missing, null = b'{"model":"m"}', body(endpoint, **{endpoint.needs: None})

    assert {refused(endpoint, raw).param for raw in (missing, null)} == {endpoint.needs}


@each_json
@pytest.mark.parametrize("value", ["", [], 0, {"text": "x"}])
def test_whether_it_makes_sense_is_the_providers_to_judge(endpoint: Endpoint, value: Any) -> None:
    assert read(endpoint, body(endpoint, **{endpoint.needs: value})).body[endpoint.needs] == value


@each_json
@pytest.mark.parametrize("name", ["model", "stream", "stream_options", "router"])
def test_what_we_edit_must_be_there_once(endpoint: Endpoint, name: str) -> None:
    value = {"model": '"a"', "stream": "false"}.get(name, "{}")
    raw = f'{{"model":"m","{endpoint.needs}":"x","{name}":{value},"{name}":{value}}}'.encode()

    assert refused(endpoint, raw).param == name


@each_json
@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"\xff", b'{"model":NaN}', b"null"])
def test_what_is_no_json_object_is_refused(endpoint: Endpoint, raw: bytes) -> None:
    assert "body" in str(refused(endpoint, raw))


@each_json
@pytest.mark.parametrize(("value", "stream"), [(True, True), (False, False), (None, False)])
def test_streams_are_told_from_the_rest(endpoint: Endpoint, value: Any, stream: bool) -> None:
    assert read(endpoint, body(endpoint, stream=value)).stream is stream


@each_json
@pytest.mark.parametrize("value", ["true", 1, {}])
def test_a_stream_that_is_no_boolean_is_refused(endpoint: Endpoint, value: Any) -> None:
    assert refused(endpoint, body(endpoint, stream=value)).param == "stream"


@pytest.mark.parametrize(
    ("options", "asked"),
    [(None, False), ({}, False), ({"include_usage": True}, True), ({"include_usage": False}, False), ("odd", False)],
)
def test_whether_usage_was_asked_for_is_kept(options: Any, asked: bool) -> None:
    call = read(BY_NAME["completions"], body(BY_NAME["completions"], stream=True, stream_options=options))

    assert call.usage_asked is asked


@each_json
def test_an_option_that_is_wrong_is_named(endpoint: Endpoint) -> None:
    assert refused(endpoint, body(endpoint, router={"debug": 1})).param == "router.debug"
    assert refused(endpoint, body(endpoint, router=[])).param == "router"


# Forms


@each_form
def test_a_form_is_a_call_with_its_plain_fields(endpoint: Endpoint) -> None:
    raw = form(("model", "acme/whisper"), ("prompt", "Zoë"))

    call = read(endpoint, raw, {"content-type": FORM, "x-router-debug": "true", "cookie": "c"})

    assert (call.endpoint, call.kind, call.raw, call.model) == (endpoint.name, "audio", raw, "acme/whisper")
    assert call.body == {"model": "acme/whisper", "prompt": "Zoë", "stream": False}
    assert (call.options.debug, call.headers) == (True, {"content-type": FORM})
    assert raw[call.spans["model"].value : call.spans["model"].end] == b"acme/whisper"


@each_form
@pytest.mark.parametrize(("value", "stream"), [("true", True), ("True", True), ("false", False), ("", False)])
def test_a_form_may_ask_for_a_stream(endpoint: Endpoint, value: str, stream: bool) -> None:
    call = read(endpoint, form(("model", "m"), ("stream", value)), {"content-type": FORM})

    assert call.stream is stream


@each_form
@pytest.mark.parametrize("name", ["model", "stream"])
def test_a_field_that_we_read_must_be_there_once(endpoint: Endpoint, name: str) -> None:
    raw = form(("model", "a"), ("stream", "true"), (name, "b"))

    assert refused(endpoint, raw, {"content-type": FORM}).param == name


@each_form
def test_other_fields_may_be_there_as_often_as_they_like(endpoint: Endpoint) -> None:
    fields = ("timestamp_granularities[]", "word"), ("timestamp_granularities[]", "segment")

    assert read(endpoint, form(("model", "a"), *fields), {"content-type": FORM}).model == "a"


@each_form
@pytest.mark.parametrize("raw", [form(), form(("model", "")), form(("model ", "m"))])
def test_a_form_without_a_model_is_refused(endpoint: Endpoint, raw: bytes) -> None:
    assert refused(endpoint, raw, {"content-type": FORM}).param == "model"


@each_form
@pytest.mark.parametrize("raw", [b"", form(("model", "m"))[:-8], b'{"model":"m"}'])
def test_a_broken_form_is_refused(endpoint: Endpoint, raw: bytes) -> None:
    assert "form" in str(refused(endpoint, raw, {"content-type": FORM}))


@each_form
@pytest.mark.parametrize("content_type", ["", "application/json", "multipart/form-data"])
def test_a_form_must_say_that_it_is_one(endpoint: Endpoint, content_type: str) -> None:
    assert refused(endpoint, form(("model", "m")), {"content-type": content_type}).param == "content-type"


@each_form
def test_the_options_of_a_form_are_headers(endpoint: Endpoint) -> None:
    error = refused(endpoint, form(("model", "m"), ("router", "{}")), {"content-type": FORM})

    assert error.param == "router"
