"""Whatever an upstream repeats of our secrets, and puts into its headers, no client, log or view gets it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests.support import upstreams
from tests.support.natives import WIRE_FORMATS, NativeUpstream, google, named
from tests.support.servers import Running, signalbox, without_breakers
from tests.support.upstreams import Script, event, plain, stream

KEY = "sk-provider-0123456789abcdef"
SPARE = "sk-second-key-9876543210"
HEADER = "tenant-secret-4242"
ADMIN = "the-admin-token-1"
SECRETS = (KEY, SPARE, HEADER, ADMIN)
ECHO = {
    "as it is": KEY,
    "the other key": SPARE,
    "a configured header": HEADER,
    "the admin token": ADMIN,
    "in capitals": KEY.upper(),
    "percent": KEY.replace("-", "%2D"),
    "a URL": f"https://api.test/v1beta/models/m?key={KEY}&alt=sse",
    "base64": base64.b64encode(f"Bearer {KEY}".encode()).decode(),
    "the first half": f"Bearer {KEY[:-6]}...",
}
DIALECTS = ("openai", "anthropic", "gemini")


def configuration(url: str) -> dict[str, Any]:
    keys = [{"id": "main", "value": KEY, "weight": 100}, {"id": "spare", "value": SPARE}]
    headers = {"x-tenant": f"Bearer {HEADER}"}
    base = {"openai": f"{url}/v1"}
    return {
        "store": "none",
        "auth": {"admin_token": ADMIN},
        "providers": {
            name: {"dialect": name, "base_url": base.get(name, url), "keys": keys, "headers": headers}
            for name in DIALECTS
        },
        "models": [{"id": f"{name}/m"} for name in DIALECTS],
        "resilience": without_breakers(same_target=0, attempts=1),
    }


@pytest.fixture(scope="module")
def box(module_natives: NativeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with ExitStack() as stack:
        yield stack.enter_context(signalbox(configuration(module_natives.url), tmp_path_factory.mktemp("box")))


@pytest.fixture
def upstream(module_natives: NativeUpstream, box: Running, http: httpx.Client) -> NativeUpstream:
    module_natives.clear()
    http.post(f"{box.url}/admin/breakers/reset", headers={"authorization": f"Bearer {ADMIN}"}).raise_for_status()
    return module_natives


def ask(http: httpx.Client, box: Running, dialect: str, *, stream: bool) -> httpx.Response:
    body = {
        "model": f"{dialect}/m",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": stream,
        "router": {"debug": True},
    }
    return http.post(f"{box.url}/v1/chat/completions", json=body)


def everything(answer: httpx.Response, line: dict[str, Any], http: httpx.Client, box: Running) -> str:
    """All that anyone can see of a call, without the forms that hide a secret from a search."""
    admin = {"authorization": f"Bearer {ADMIN}"}
    views = [http.get(f"{box.url}/admin/{name}", headers=admin).text for name in ("providers", "breakers", "limits")]
    seen = [answer.text, repr(answer.headers.raw), json.dumps(line), http.get(f"{box.url}/metrics").text, *views]
    return "\n".join(seen).replace("\\u002d", "-").lower()


def assert_hidden(text: str, echo: str) -> None:
    assert echo.lower() not in text
    assert [secret for secret in SECRETS if secret.lower() in text] == []


def failing(dialect: str, echo: str, *, status: int, escaped: bool, headers: dict[str, str]) -> Script:
    """An error that repeats a secret in its message, type and code, and in every header."""
    echoed = f"You sent {echo}, it is wrong"
    if dialect == "anthropic":
        value: dict[str, Any] = {"type": "error", "error": {"type": echo, "message": echoed}, "request_id": echo}
    elif dialect == "gemini":
        value = {"error": {"code": status, "message": echoed, "status": echo, "details": [{"reason": echo}]}}
    else:
        value = {"error": {"message": echoed, "type": echo, "param": echo, "code": echo}}
    raw = json.dumps(value)
    return plain((raw.replace("-", "\\u002d") if escaped else raw).encode(), status, headers=headers)


@pytest.mark.parametrize("echo", ECHO.values(), ids=ECHO)
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("status", [400, 401, 404, 422, 429, 500])
def test_an_error_repeats_no_secret(
    http: httpx.Client, box: Running, upstream: NativeUpstream, access_log: Any, dialect: str, status: int, echo: str
) -> None:
    headers = {"x-request-id": echo, "request-id": echo, "openai-organization": echo}
    upstream.script("m", failing(dialect, echo, status=status, escaped=status in (400, 500), headers=headers))

    answer = ask(http, box, dialect, stream=status in (401, 500))

    assert answer.status_code >= 400
    assert_hidden(everything(answer, access_log.next(), http, box), echo)


def test_an_error_in_html_repeats_no_secret(
    http: httpx.Client, box: Running, upstream: NativeUpstream, access_log: Any
) -> None:
    for dialect in DIALECTS:
        for status in (200, 400, 403, 502):
            page = f"<html><body>Authorization: Bearer {KEY}</body></html>".encode()
            upstream.script("m", plain(page, status, "text/html"))

            answer = ask(http, box, dialect, stream=False)

            assert_hidden(everything(answer, access_log.next(), http, box), KEY)


@pytest.mark.parametrize("escaped", [False, True], ids=["plain", "escaped"])
@pytest.mark.parametrize("committed", [False, True], ids=["before content", "after content"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_error_event_repeats_no_secret(
    http: httpx.Client,
    box: Running,
    upstream: NativeUpstream,
    access_log: Any,
    dialect: str,
    committed: bool,
    escaped: bool,
) -> None:
    wire_format, echoed = WIRE_FORMATS[dialect], f"You sent {KEY}."
    if dialect == "anthropic":
        bad = named("error", error={"type": KEY, "message": echoed})
    elif dialect == "gemini":
        bad = google({"error": {"code": 500, "message": echoed, "status": KEY}})
    else:
        bad = event({"error": {"message": echoed, "type": KEY, "param": KEY, "code": KEY}})
    bad = bad.replace(b"-", b"\\u002d") if escaped else bad
    words = wire_format.words("good") if committed else []
    upstream.script("m", stream([*wire_format.opening, *words, bad[:50], bad[50:]]))

    answer = ask(http, box, dialect, stream=True)

    assert answer.status_code == (200 if committed else 502)
    assert "***" in answer.text
    assert ("good1" in answer.text) == committed
    assert_hidden(everything(answer, access_log.next(), http, box), KEY)


def test_an_error_without_a_secret_keeps_its_bytes(http: httpx.Client, box: Running, upstream: NativeUpstream) -> None:
    body = (
        b'{"error":  {"message": "n\\u002dis \\/ wrong", "type": "invalid_request_error", "param": null, "code": null}}'
    )
    upstream.script("m", plain(body, 400))

    assert ask(http, box, "openai", stream=False).content == body


def test_an_error_event_without_a_secret_keeps_its_bytes(
    http: httpx.Client, box: Running, upstream: NativeUpstream
) -> None:
    bad = b'data: {"error":  {"message": "it \\u002d broke"}}\n\n'
    upstream.script("m", stream([upstreams.ROLE, *upstreams.words("good"), bad]))

    body = {"model": "openai/m", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    answer = http.post(f"{box.url}/v1/chat/completions", json=body)

    assert answer.content.endswith(bad)


@pytest.mark.parametrize(
    "value",
    ["a\x01b", "a\x7fb", "zo\xeb", "x" * 60_000, "a\tb"],
    ids=["control", "delete", "latin-1", "60 kB", "tab"],
)
@pytest.mark.parametrize("name", ["openai-x", "x-request-id", "content-type"])
def test_a_header_that_cannot_be_passed_on_is_dropped(
    http: httpx.Client, box: Running, upstream: NativeUpstream, name: str, value: str
) -> None:
    body = json.dumps(upstreams.completion("fine")).encode()
    kind = value if name == "content-type" else upstreams.JSON
    more = {} if name == "content-type" else {name: value}
    upstream.script("m", plain(body, content_type=kind, headers={**more, "openai-version": "2020-10-01"}))

    answer = ask(http, box, "openai", stream=False)

    assert answer.status_code == 200
    assert answer.headers["openai-version"] == "2020-10-01"
    assert "openai-x" not in answer.headers
    assert "x-router-upstream-request-id" not in answer.headers
    assert answer.headers["content-type"] == "application/json"


def test_many_headers_of_an_upstream_are_cut(http: httpx.Client, box: Running, upstream: NativeUpstream) -> None:
    body = json.dumps(upstreams.completion("fine")).encode()
    headers = {f"openai-{number}": "x" * 100 for number in range(80)}
    upstream.script("m", plain(body, headers=headers))

    answer = ask(http, box, "openai", stream=False)

    assert answer.status_code == 200
    assert sum(name.startswith("openai-") for name in answer.headers) <= 33


def test_an_error_after_a_complete_answer_repeats_no_secret(
    http: httpx.Client, box: Running, upstream: NativeUpstream, access_log: Any
) -> None:
    bad = event({"error": {"message": f"You sent {KEY}.", "code": 500}})
    upstream.script("m", stream([upstreams.ROLE, *upstreams.words("good"), upstreams.FINISH, bad, upstreams.DONE]))

    answer = ask(http, box, "openai", stream=True)

    assert "You sent ***." in answer.text
    assert answer.text.endswith("data: [DONE]\n\n")
    assert_hidden(everything(answer, access_log.next(), http, box), KEY)


@pytest.mark.parametrize(
    "label",
    [
        "text/html; x=application/json",
        "application/problem+json",
        "application/x-ndjson",
        "text/plain",
        "application/json, a",
    ],
)
def test_a_json_answer_has_the_label_of_json(
    http: httpx.Client, box: Running, upstream: NativeUpstream, label: str
) -> None:
    upstream.script("m", plain(json.dumps(upstreams.completion("fine")).encode(), content_type=label))

    answer = ask(http, box, "openai", stream=False)

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
