"""What no client should send: each gets a clear error in OpenAI's shape, and nothing of it reaches an upstream."""

from __future__ import annotations

import gzip
import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from proxy.app import build
from proxy.config.load import load
from tests.support.servers import RecordingUpstream, recording_upstream, serving, signalbox
from tests.support.waiting import PATIENCE

MAX_BODY = 2 * 1024 * 1024
CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]
GOOD: dict[str, Any] = {"model": "up/small", "messages": HELLO}
GOOD_BYTES = json.dumps(GOOD).encode()
DEEP = 1_000_000


@dataclass(frozen=True)
class Box:
    """Signalbox and its upstream; `http` speaks properly, `raw` does not."""

    url: str
    upstream: RecordingUpstream
    http: httpx.Client

    def chat(self, content: bytes | dict[str, Any], **headers: str) -> httpx.Response:
        """Post a body as it is."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(CHAT, content=body, headers={"content-type": "application/json", **named})

    def raw(self, *pieces: bytes, close: bool = False) -> bytes:
        """Send bytes, and read until the server closes; `close` says first that no more will come."""
        parts = urlsplit(self.url)
        with socket.create_connection((parts.hostname, parts.port), PATIENCE) as connection:
            for piece in pieces:
                connection.sendall(piece)
            if close:
                connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))


def config(upstream: str) -> dict[str, Any]:
    return {
        "server": {"max_body": MAX_BODY},
        "auth": {"admin_token": "the-admin-token"},
        "providers": {
            "up": {"base_url": upstream, "keys": [{"id": "main", "value": "the-provider-key"}]},
            "open": {"base_url": upstream, "any_model": True},
        },
        "models": [{"id": "up/small", "tier": "low"}, {"id": "up/large", "tier": "high"}],
        "routing": {"scenarios": {"support": ["up/small"]}},
    }


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with (
        recording_upstream() as (url, upstream),
        signalbox(config(url), tmp_path_factory.mktemp("bad")) as running,
        httpx.Client(base_url=running.url, trust_env=False, timeout=PATIENCE) as http,
    ):
        yield Box(running.url, upstream, http)


@pytest.fixture
def box(shared: Box) -> Iterator[Box]:
    """Nothing may have reached the upstream; a test that sends something good says so by clearing the log."""
    shared.upstream.requests.clear()
    yield shared
    assert shared.upstream.requests == []


def request(
    *more: str, body: bytes = GOOD_BYTES, first: str = f"POST {CHAT} HTTP/1.1", host: str | None = "Host: localhost"
) -> bytes:
    """A request, byte for byte, that asks the server to close the connection after it."""
    lines = [first, *([host] if host else []), "Content-Type: application/json", "Connection: close", *more]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def with_length(body: bytes = GOOD_BYTES) -> str:
    return f"Content-Length: {len(body)}"


def parsed(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the only answer in these bytes."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return int(first.split(" ")[1]), headers, body


def error_of(content: bytes) -> dict[str, Any]:
    """The error, which is in OpenAI's shape."""
    value = json.loads(content)
    assert list(value) == ["error"]
    error: dict[str, Any] = value["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert isinstance(error["message"], str)
    assert error["message"]
    assert len(error["message"]) < 1000
    assert isinstance(error["type"], str)
    return error


def refused(answer: httpx.Response, status: int, *, code: str | None = None, param: str | None = None) -> str:
    """Check an error answer; its message."""
    assert answer.status_code == status, answer.text[:300]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-router-id"].startswith("req_")
    assert answer.headers["x-request-id"]
    error = error_of(answer.content)
    assert (error["code"], error["param"]) == (code, param)
    assert error["type"] == "invalid_request_error"
    return str(error["message"])


# Bodies


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"nonsense",
        b"{",
        b'{"model": ',
        b'{"model": "up/small", "messages": [{"role": "user", "content": "Hi"}',
        b'{"model": "up/small",}',
        b"{'model': 'up/small'}",
        b'{"model": "up/small"} {"model": "up/large"}',
        b'{"model" "up/small"}',
        b'{model: "up/small"}',
        b'{"model": "up/small", "messages": [], "x": "\x01"}',
        b'{"model": "up/small", "messages": [], "x": "\\q"}',
        b'{"x": %s}' % (b"9" * 5000),
        b'\xef\xbb\xbf{"model": "up/small"}',
        json.dumps(GOOD).encode("utf-16"),
    ],
)
def test_broken_json_is_refused(box: Box, body: bytes) -> None:
    refused(box.chat(body), 400)


@pytest.mark.parametrize("body", [b"[]", b"null", b"true", b"7", b'"text"', b'[{"model": "up/small"}]'])
def test_json_that_is_no_object_is_refused(box: Box, body: bytes) -> None:
    assert "object" in refused(box.chat(body), 400)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity"])
def test_what_is_no_number_in_json_is_refused(box: Box, number: bytes) -> None:
    body = GOOD_BYTES[:-1] + b', "temperature": ' + number + b"}"

    assert number.decode().lstrip("-") in refused(box.chat(body), 400)


@pytest.mark.parametrize(
    "value",
    [
        b"[" * DEEP,
        b"[" * (DEEP // 2) + b"]" * (DEEP // 2),
        b'{"a":' * (DEEP // 6) + b"1" + b"}" * (DEEP // 6),
        b"[" * 200 + b"]" * 200,
    ],
)
def test_too_deep_json_is_refused(box: Box, value: bytes) -> None:
    body = GOOD_BYTES[:-1] + b', "metadata": ' + value + b"}"

    message = refused(box.chat(body), 400)

    assert "too deep" in message or "not valid JSON" in message or "too many members" in message


def test_too_deep_json_in_the_messages_is_refused(box: Box) -> None:
    part = b"[" * 5000 + b"]" * 5000

    message = refused(box.chat(b'{"model":"up/small","messages":[{"role":"user","content":' + part + b"}]}"), 400)

    assert "too deep" in message


@pytest.mark.parametrize("text", [b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"])
def test_what_is_not_utf_8_is_refused(box: Box, text: bytes) -> None:
    body = b'{"model": "up/small", "messages": [{"role": "user", "content": "' + text + b'"}]}'

    assert "UTF-8" in refused(box.chat(body), 400)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("model", [5, True, ["up/small"], {"id": "up/small"}]),
        ("messages", ["Hello", {"role": "user"}, 5, [], True]),
        ("stream", ["true", 1, 0, "yes", []]),
        ("stream_options", [[], "include_usage", True, 1]),
        ("n", ["1", 0, -1, 1.5, True, []]),
        ("max_tokens", ["10", 0, -2, 10.5, True]),
        ("max_completion_tokens", ["10", 0, -2, 10.5, True]),
        ("temperature", ["hot", True, [], {}]),
        ("top_p", ["1", True]),
        ("presence_penalty", ["1", True]),
        ("frequency_penalty", ["1", True]),
        ("seed", ["1", 1.5, True]),
        ("stop", [5, [5], {}, True]),
        ("tools", ["none", {}, ["tool"], 5]),
        ("functions", ["none", {}, ["tool"], 5]),
        ("tool_choice", [5, [], True]),
        ("response_format", ["json_object", [], 5]),
        ("user", [5, [], {}]),
        ("parallel_tool_calls", ["true", 1]),
        ("logprobs", ["true", 1]),
        ("router", ["debug", [], 5, True]),
    ],
)
def test_a_wrong_type_is_refused_by_the_name_of_its_field(box: Box, name: str, wrong: list[Any]) -> None:
    for value in wrong:
        message = refused(box.chat({**GOOD, name: value}), 400, param=name)

        assert f"`{name}`" in message


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([1], "messages[0]"),
        ([*HELLO, None], "messages[1]"),
        ([*HELLO, "Hi"], "messages[1]"),
        ([{}], "messages[0].role"),
        ([{"role": None, "content": "Hi"}], "messages[0].role"),
        ([{"role": 5, "content": "Hi"}], "messages[0].role"),
        ([*HELLO, {"role": "user", "content": 5}], "messages[1].content"),
        ([{"role": "user", "content": {"type": "text"}}], "messages[0].content"),
    ],
)
def test_a_wrong_message_is_refused_by_its_place(box: Box, messages: Any, param: str) -> None:
    refused(box.chat({"model": "up/small", "messages": messages}), 400, param=param)


def test_a_wrong_usage_wish_is_refused(box: Box) -> None:
    body = {**GOOD, "stream": True, "stream_options": {"include_usage": "yes"}}

    refused(box.chat(body), 400, param="stream_options")


@pytest.mark.parametrize("name", ["model", "messages"])
@pytest.mark.parametrize("given", [False, True])
def test_a_missing_or_null_member_is_asked_for(box: Box, name: str, given: bool) -> None:
    body = {**GOOD, name: None} if given else {key: value for key, value in GOOD.items() if key != name}

    assert f"`{name}`" in refused(box.chat(body), 400, param=name)


def test_an_empty_model_is_asked_for(box: Box) -> None:
    refused(box.chat({**GOOD, "model": ""}), 400, param="model")


@pytest.mark.parametrize("second", [b'"model"', b'"mod\\u0065l"', b'"stream"', b'"stream_options"', b'"router"'])
def test_a_member_that_we_read_must_not_be_there_twice(box: Box, second: bytes) -> None:
    first = {b'"mod\\u0065l"': b'"model"'}.get(second, second)
    body = b'{"messages": [{"role": "user", "content": "Hi"}], %s: null, "model": "up/small", %s: null}'
    body = body % ((first, second) if b"mod" not in second else (b'"x"', second))

    message = refused(box.chat(body), 400, param=json.loads(first))

    assert "once" in message


@pytest.mark.parametrize(
    "model",
    [
        "up/smal",
        "nothing-like-it",
        "tier/lowest",
        "scenario/",
        "scenario/suport",
        "mode/quick",
        "tier/",
        "/",
        "up/",
        "/small",
        " up/small",
        "UP/SMALL",
        "up/small\n",
        "\ud800",
        "\u0000",
        "x" * 100_000,
        "../../etc/passwd",
        "auto/",
    ],
)
def test_an_unknown_model_is_not_found(box: Box, model: str) -> None:
    message = refused(box.chat({**GOOD, "model": model}), 404, code="model_not_found", param="model")

    assert len(message) < 500
    assert message.isprintable()


@pytest.mark.parametrize(
    ("model", "near"), [("up/smal", "up/small"), ("smal", "up/small"), ("scenario/suport", "scenario/support")]
)
def test_the_nearest_names_are_told(box: Box, model: str, near: str) -> None:
    message = refused(box.chat({**GOOD, "model": model}), 404, code="model_not_found", param="model")

    assert f"`{near}`" in message


@pytest.mark.parametrize("model", ["open/a b", "open/a\r\nset-cookie: a=b", "open/\u0000", "open/" + "x" * 5000])
def test_an_open_provider_takes_no_model_that_cannot_be_one(box: Box, model: str) -> None:
    refused(box.chat({**GOOD, "model": model}), 400, param="model")


@pytest.mark.parametrize(
    ("header", "value", "param"),
    [
        ("x-router-debug", "maybe", "router.debug"),
        ("x-router-mode", "slow", "router.mode"),
        ("x-router-max-cost-usd", "cheap", "router.max_cost_usd"),
        ("x-router-max-cost-usd", "nan", "router.max_cost_usd"),
        ("x-router-max-latency-ms", "-1", "router.max_latency_ms"),
        ("x-router-colour", "red", "router.colour"),
        ("x-router-cache", "on", "router.cache"),
    ],
)
def test_a_wrong_option_in_a_header_is_refused_by_its_name(box: Box, header: str, value: str, param: str) -> None:
    answer = box.http.post(CHAT, content=GOOD_BYTES, headers={header: value})

    assert f"`{param}`" in refused(answer, 400, param=param)


@pytest.mark.parametrize(
    ("router", "param"),
    [
        ({"": 1}, "router."),
        ({"providers": [1]}, "router.providers"),
        ({"providers": ["a"] * 65}, "router.providers"),
        ({"max_cost_usd": True}, "router.max_cost_usd"),
        ({"max_cost_usd": -1}, "router.max_cost_usd"),
        ({"client_id": ""}, "router.client_id"),
        ({"client_id": "x" * 257}, "router.client_id"),
        ({"task": "dance"}, "router.task"),
        ({"key_id": {}}, "router.key_id"),
    ],
)
def test_a_wrong_option_in_the_body_is_refused_by_its_name(box: Box, router: dict[str, Any], param: str) -> None:
    refused(box.chat({**GOOD, "router": router}), 400, param=param)


def test_an_unknown_fallback_is_rejected_before_any_attempt(box: Box) -> None:
    answer = box.chat({**GOOD, "router": {"fallbacks": ["up/larg"]}})

    assert "`up/large`" in refused(answer, 404, code="model_not_found", param="router.fallbacks")


def test_a_compressed_body_is_refused(box: Box) -> None:
    message = refused(box.chat(gzip.compress(GOOD_BYTES), content_encoding="gzip"), 400, param="body")

    assert "`content-encoding`" in message


# Sizes and lengths


def test_a_body_of_exactly_the_limit_is_taken(box: Box) -> None:
    answer = box.chat(GOOD_BYTES + b" " * (MAX_BODY - len(GOOD_BYTES)))

    assert answer.status_code == 200
    assert [len(each.content) for each in box.upstream.requests] == [MAX_BODY - len("up/")]
    box.upstream.requests.clear()


@pytest.mark.parametrize("path", [CHAT, "/v1/route"])
def test_a_body_over_the_limit_is_refused(box: Box, path: str) -> None:
    answer = box.http.post(path, content=GOOD_BYTES + b" " * MAX_BODY)

    message = refused(answer, 413, code="request_too_large")
    assert "`server.max_body`" in message


@pytest.mark.parametrize("path", [CHAT, "/v1/route"])
def test_a_declared_length_over_the_limit_is_rejected_at_once(box: Box, path: str) -> None:
    head = request(f"Content-Length: {MAX_BODY + 1}", first=f"POST {path} HTTP/1.1", body=b"")

    status, headers, body = parsed(box.raw(head))

    assert (status, error_of(body)["code"]) == (413, "request_too_large")
    assert headers["connection"] == "close"


def test_who_waits_for_a_hundred_is_refused_without_one(box: Box) -> None:
    head = request(f"Content-Length: {MAX_BODY + 1}", "Expect: 100-continue", body=b"")

    status, _, body = parsed(box.raw(head))

    assert (status, error_of(body)["code"]) == (413, "request_too_large")


def test_who_waits_for_a_hundred_gets_one_and_an_answer(box: Box) -> None:
    answer = box.raw(request(with_length(), "Expect: 100-continue"))

    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert box.upstream.models == ["small"]
    box.upstream.requests.clear()


def chunked(body: bytes, size: int = 65536) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize("path", [CHAT, "/v1/route"])
def test_a_chunked_body_over_the_limit_is_refused(box: Box, path: str) -> None:
    def pieces() -> Iterator[bytes]:
        yield GOOD_BYTES
        for _ in range(MAX_BODY // 65536 + 1):
            yield b" " * 65536

    refused(box.http.post(path, content=pieces()), 413, code="request_too_large")


def test_a_chunked_body_is_as_good_as_any(box: Box) -> None:
    status, _, _ = parsed(box.raw(request("Transfer-Encoding: chunked", body=chunked(GOOD_BYTES, 7))))

    assert status == 200
    assert box.upstream.models == ["small"]
    box.upstream.requests.clear()


def test_a_body_longer_than_its_declared_length_is_cut_there(box: Box) -> None:
    answer = box.raw(request(f"Content-Length: {len(GOOD_BYTES) - 5}"))

    assert answer.startswith(b"HTTP/1.1 400 ")


def test_a_body_shorter_than_its_declared_length_is_no_request(box: Box) -> None:
    answer = box.raw(request(f"Content-Length: {len(GOOD_BYTES) + 5}"), close=True)

    assert b" 200 " not in answer


def test_a_chunked_body_that_does_not_end_is_no_request(box: Box) -> None:
    answer = box.raw(request("Transfer-Encoding: chunked", body=chunked(GOOD_BYTES)[:-5]), close=True)

    assert b" 200 " not in answer


@pytest.mark.parametrize(
    "framing",
    [
        ("Content-Length: abc",),
        ("Content-Length: -1",),
        ("Content-Length: +5",),
        ("Content-Length: 5, 6",),
        ("Content-Length: 5", "Content-Length: 6"),
        (with_length(), "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: gzip",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding: gzip, chunked",),
        ("Transfer-Encoding: identity, chunked",),
        ("Transfer-Encoding: gzip", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding : chunked",),
        ("Content-Length: 99999999999999999999999999",),
    ],
)
def test_a_length_that_can_be_read_in_two_ways_is_refused(box: Box, framing: tuple[str, ...]) -> None:
    answer = box.raw(request(*framing), close=True)

    assert not answer or answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 "))


@pytest.fixture
def impatient(shared: Box, tmp_path: Path) -> Iterator[Box]:
    """A service that waits for no more than a blink for the next piece of a body."""
    path = tmp_path / "signalbox.yaml"
    path.write_text(yaml.safe_dump(config("http://127.0.0.1:9/v1")))
    loaded = load(path, {})
    server = replace(loaded.process.server, header_timeout=0.05)
    service = build(replace(loaded, process=replace(loaded.process, server=server)), {})
    with serving(service.asgi) as url:
        yield Box(url, shared.upstream, shared.http)


@pytest.mark.parametrize("path", [CHAT, "/v1/route", "/admin/breakers/reset"])
def test_a_body_that_does_not_come_is_given_up(impatient: Box, path: str) -> None:
    token = "Authorization: Bearer the-admin-token"
    head = request(with_length(), token, first=f"POST {path} HTTP/1.1", body=GOOD_BYTES[:10])

    status, headers, body = parsed(impatient.raw(head))

    assert (status, error_of(body)["code"]) == (408, "request_timeout")
    assert headers["connection"] == "close"


# Host, paths, methods


@pytest.mark.parametrize(
    "hosts",
    [
        (),
        ("Host: a", "Host: a"),
        ("Host: a", "Host: b"),
        ("Host:",),
        ("Host: a b",),
        ("Host: a/b",),
        ("Host: a, b",),
        ("Host: user@a",),
        ("Host: a:port",),
        ("Host: a:123456",),
        ("Host: \xe4",),
        ("Host: [::1",),
        ("Host: http://a",),
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/nothing", "/livez"])
def test_a_request_has_exactly_one_good_host(box: Box, hosts: tuple[str, ...], path: str) -> None:
    answer = box.raw(request(*hosts, with_length(), first=f"POST {path} HTTP/1.1", host=None))

    status, headers, body = parsed(answer)
    error = error_of(body)
    assert (status, error["type"], error["param"]) == (400, "invalid_request_error", "host")
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "host", ["Host: localhost", "Host: LOCALHOST:80", "host: 127.0.0.1:8080", "HOST: [::1]:80", "Host: a.localhost."]
)
def test_a_good_host_is_let_in(box: Box, host: str) -> None:
    status, _, _ = parsed(box.raw(request(first="GET /livez HTTP/1.1", host=host, body=b"")))

    assert status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/",
        "/v2/chat/completions",
        "/v1/chat",
        f"{CHAT}/",
        f"/{CHAT}",
        "/v1//chat/completions",
        f"{CHAT}/x",
        "/V1/CHAT/COMPLETIONS",
        "/chat/completions",
        "/v1/threads",
        "/v1/files",
        "/livez/",
        "/openai/deployments/x/chat/completions",
        "/%00",
        "/%e4%b8%96",
        "/" + "x" * 8000,
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_an_unknown_path_is_not_found_in_openais_shape(box: Box, method: str, path: str) -> None:
    body = b"" if method == "GET" else GOOD_BYTES
    answer = box.raw(request(with_length(body), first=f"{method} {path} HTTP/1.1", body=body))

    status, headers, content = parsed(answer)
    error = error_of(content)
    assert (status, error["type"], error["code"]) == (404, "invalid_request_error", "not_found")
    assert headers["x-router-id"].startswith("req_")


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/chat/completions", CHAT),
        ("/models", "/v1/models"),
        ("/models/up/small", "/v1/models/up/small"),
        ("/v1/v1/chat/completions", CHAT),
        (f"/openai{CHAT}", CHAT),
        (f"{CHAT}/", CHAT),
        (f"/{CHAT}", CHAT),
        ("/livez/", "/livez"),
    ],
)
def test_an_unknown_path_names_the_one_that_was_meant(box: Box, path: str, meant: str) -> None:
    _, _, content = parsed(box.raw(request(first=f"POST {path} HTTP/1.1", body=b"")))

    assert f"Did you mean `{meant}`" in error_of(content)["message"]


def test_the_base_url_of_anthropics_clients_has_no_version(box: Box) -> None:
    _, _, content = parsed(box.raw(request(first="POST /v1/v1/messages HTTP/1.1", body=b"")))

    assert "`/v1/messages`; the base URL ends before `/v1`?" in error_of(content)["message"]


def test_an_unknown_path_that_is_like_none_has_no_hint(box: Box) -> None:
    for path in ("/", "/v1", "/v1/", "/v1/files", "/favicon.ico"):
        _, _, content = parsed(box.raw(request(first=f"POST {path} HTTP/1.1", body=b"")))
        assert error_of(content)["message"] == f"There is no path `{path}`."


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", CHAT, {"POST"}),
        ("HEAD", CHAT, {"POST"}),
        ("PUT", CHAT, {"POST"}),
        ("DELETE", CHAT, {"POST"}),
        ("OPTIONS", CHAT, {"POST"}),
        ("PATCH", "/v1/route", {"POST"}),
        ("POST", "/v1/models", {"GET", "HEAD"}),
        ("DELETE", "/v1/models/up/small", {"GET", "HEAD"}),
        ("POST", "/v1/provider-keys", {"GET", "HEAD", "PUT"}),
        ("POST", "/livez", {"GET", "HEAD", "OPTIONS"}),
        ("POST", "/metrics", {"GET", "HEAD"}),
    ],
)
def test_a_method_that_the_path_does_not_know_is_refused(box: Box, method: str, path: str, allowed: set[str]) -> None:
    answer = box.http.request(method, path)

    assert answer.status_code == 405
    assert set(re.split(r",\s*", answer.headers["allow"])) == allowed
    assert answer.headers["x-router-id"].startswith("req_")
    if method != "HEAD":
        refused(answer, 405, code="method_not_allowed")


@pytest.mark.parametrize("path", ["/admin", "/admin/", "/admin/nothing", "/admin/config", "/admin/breakers/reset"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_every_admin_path_needs_the_token(box: Box, method: str, path: str) -> None:
    answer = box.http.request(method, path)

    error = error_of(answer.content)
    assert (answer.status_code, error["type"], error["code"]) == (401, "authentication_error", "invalid_api_key")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/metrics", "/v1/models", "/v1/models/up/small"])
def test_the_head_of_what_can_be_got_has_no_body(box: Box, path: str) -> None:
    answer = box.raw(request(first=f"HEAD {path} HTTP/1.1", body=b""))

    status, _, body = parsed(answer)
    assert (status, body) == (200, b"")


def test_the_head_of_an_error_has_no_body(box: Box) -> None:
    answer = box.raw(request(first="HEAD /v1/nothing HTTP/1.1", body=b""))

    status, _, body = parsed(answer)
    assert (status, body) == (404, b"")


@pytest.mark.parametrize("name", ["nothing", "up/small/", "up//small", "..", "%2e%2e/x", "up/smal"])
def test_an_unknown_model_cannot_be_got(box: Box, name: str) -> None:
    answer = box.raw(request(first=f"GET /v1/models/{name} HTTP/1.1", body=b""))

    status, _, body = parsed(answer)
    assert (status, error_of(body)["code"]) == (404, "model_not_found")


# The protocol itself


def test_http_1_0_is_answered_and_closed(box: Box) -> None:
    answer = box.raw(f"POST {CHAT} HTTP/1.0\r\nHost: localhost\r\n{with_length()}\r\n\r\n".encode() + GOOD_BYTES)

    status, _, body = parsed(answer)
    assert status == 200
    assert json.loads(body)["model"] == "small"
    assert box.upstream.models == ["small"]
    box.upstream.requests.clear()


def test_pipelined_requests_are_answered_in_order(box: Box) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: first\r\n{with_length()}\r\n\r\n".encode()
    bad = request("X-Request-Id: second", "Content-Length: 2", body=b"{}")

    answers = box.raw(head + GOOD_BYTES + bad)

    assert re.findall(rb"HTTP/1.1 (\d+) ", answers) == [b"200", b"400"]
    assert re.findall(rb"x-request-id: (\w+)", answers) == [b"first", b"second"]
    assert box.upstream.models == ["small"]
    box.upstream.requests.clear()


@pytest.mark.parametrize(
    "junk",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.0\r\n\r\n",
        b"GET /livez\r\n\r\n",
        b"GET /livez HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nBad Header: x\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nNo colon here\r\n\r\n",
        b"GET  HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_not_http_is_turned_away(box: Box, junk: bytes) -> None:
    answer = box.raw(junk, close=True)

    assert not answer or answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"two words",
        b"a\tb",
        b"x" * 129,
        b"\xe4\xb8\x96",
    ],
)
def test_a_request_id_that_is_not_sane_is_not_echoed(box: Box, value: bytes) -> None:
    line = b"X-Request-Id: " + value
    answer = box.raw(request(with_length(b"{}"), line.decode("latin-1"), body=b"{}"))

    _, headers, _ = parsed(answer)
    assert headers["x-request-id"] == headers["x-router-id"]


@pytest.mark.parametrize("value", [b"a\nset-cookie: b=c", b"a\r set-cookie: b=c", b"a\x00b"])
def test_a_request_id_cannot_bring_a_header_with_it(box: Box, value: bytes) -> None:
    line = b"X-Request-Id: " + value
    answer = box.raw(request(with_length(b"{}"), line.decode("latin-1"), body=b"{}"), close=True)

    assert b"\nset-cookie" not in answer.lower()
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_a_model_name_cannot_inject_a_header(box: Box) -> None:
    answer = box.chat({**GOOD, "model": "open/世\u2028界"})

    assert answer.status_code in (200, 400)
    assert answer.headers["x-router-id"]
    assert all(value.isascii() for value in answer.headers.values())
    box.upstream.requests.clear()
