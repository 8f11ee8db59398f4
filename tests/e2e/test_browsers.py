"""Web pages before a real service: those of other sites spend nothing, listed ones may call from a browser."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.servers import RecordingUpstream, Running, recording_upstream, signalbox
from tests.support.waiting import PATIENCE

APP = "https://app.example"
BODY = {"model": "up/small", "messages": [{"role": "user", "content": "hi"}]}
CHAT = "/v1/chat/completions"
CORS_ASKED = (
    "authorization, content-type, x-stainless-lang, x-stainless-retry-count, openai-organization, x-router-mode"
)


class Box:
    """A service that allows one origin or none, and its upstream."""

    def __init__(self, running: Running, upstream: RecordingUpstream, http: httpx.Client) -> None:
        self.url, self.upstream, self._http = running.url, upstream, http

    def ask(self, method: str, path: str, headers: dict[str, str], **more: Any) -> httpx.Response:
        return self._http.request(method, f"{self.url}{path}", headers=headers, **more)


def configuration(url: str, **server: Any) -> dict[str, Any]:
    return {
        "store": "none",
        "testing": True,
        "auth": {"admin_token": "secret"},
        "server": server,
        "providers": {"up": {"base_url": url, "any_model": True}},
        "models": [{"id": "up/small"}],
    }


@pytest.fixture(scope="module")
def upstream_url() -> Iterator[tuple[str, RecordingUpstream]]:
    with recording_upstream() as found:
        yield found


@pytest.fixture(scope="module")
def boxes(
    upstream_url: tuple[str, RecordingUpstream], http: httpx.Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Box]]:
    url, upstream = upstream_url
    listed = {"cors": {"origins": [APP], "headers": ["x-tenant", "x-app-*"], "max_age": "1h"}}
    folder = tmp_path_factory.mktemp
    with (
        signalbox(configuration(url), folder("off")) as off,
        signalbox(configuration(url, **listed), folder("on")) as on,
        signalbox(configuration(url, hosts=["llm.example"], trusted_proxies=["127.0.0.1"]), folder("hosts")) as hosts,
    ):
        yield {name: Box(box, upstream, http) for name, box in (("off", off), ("on", on), ("hosts", hosts))}


@pytest.fixture
def box(boxes: dict[str, Box], request: pytest.FixtureRequest) -> Box:
    found = boxes[getattr(request, "param", "on")]
    found.upstream.requests.clear()
    return found


def refused(answer: httpx.Response, code: str) -> None:
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"], error["code"]) == (
        403,
        "permission_error",
        "host" if code == "host_not_allowed" else None,
        code,
    )
    assert answer.headers["x-router-id"].startswith("req_")
    assert "access-control-allow-origin" not in answer.headers


FOREIGN: dict[str, dict[str, str]] = {
    "fetch": {"sec-fetch-site": "cross-site", "origin": "https://evil.example"},
    "an old browser": {"origin": "https://evil.example"},
    "a sandboxed frame": {"origin": "null", "sec-fetch-site": "cross-site"},
    "an image": {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
    "a link": {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},
    "another port": {"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:3000"},
    "an image of another port": {"sec-fetch-site": "same-site"},
    "a page of the same name under TLS": {"origin": "https://127.0.0.1"},
    "a form": {"origin": "https://evil.example", "content-type": "application/x-www-form-urlencoded"},
    "a simple request": {"origin": "https://evil.example", "content-type": "text/plain"},
    "a listed name with another scheme": {"origin": "http://app.example"},
}
PATHS = [
    ("POST", CHAT),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/route"),
    ("POST", "/admin/breakers/reset"),
    ("POST", "/admin/simulate/failure"),
    ("GET", "/admin/config"),
    ("GET", "/v1/models"),
    ("GET", "/metrics"),
    ("OPTIONS", CHAT),
    ("DELETE", "/v1/nothing"),
]


@pytest.mark.parametrize("box", ["off", "on"], indirect=True)
@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN.keys())
@pytest.mark.parametrize(("method", "path"), PATHS)
def test_pages_of_other_sites_get_403(box: Box, method: str, path: str, headers: dict[str, str]) -> None:
    admin = {"authorization": "Bearer secret"}

    answer = box.ask(method, path, {**headers, **admin}, content=json.dumps(BODY))

    refused(answer, "origin_not_allowed")
    assert box.upstream.requests == []


def test_a_refused_page_is_answered_before_its_body(box: Box) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\norigin: https://evil.example\r\ncontent-length: 100\r\n\r\n"
    url = httpx.URL(box.url)

    with socket.create_connection((url.host, url.port), PATIENCE) as client:
        client.sendall(head.encode())
        answer = client.recv(65536)

    assert answer.startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize("box", ["off", "on"], indirect=True)
def test_own_pages_and_other_clients_are_answered(box: Box) -> None:
    for headers in ({}, {"origin": box.url}, {"origin": box.url, "sec-fetch-site": "same-origin"}):
        assert box.ask("POST", CHAT, headers, json=BODY).status_code == 200


@pytest.mark.parametrize(
    "headers", [{"origin": APP}, {"origin": APP, "sec-fetch-site": "cross-site"}], ids=["old", "new"]
)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_a_listed_page_may_call(box: Box, headers: dict[str, str], stream: bool) -> None:
    answer = box.ask("POST", CHAT, headers, json={**BODY, "stream": stream})

    assert answer.status_code == 200
    cors_headers(answer)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", CHAT, {}, 400),
        ("POST", CHAT, {**BODY, "model": "nothing"}, 404),
        ("POST", CHAT, {**BODY, "model": "up/status-500"}, 502),
        ("POST", CHAT, {**BODY, "model": "up/status-429"}, 429),
        ("GET", "/v1/nothing", None, 404),
        ("GET", CHAT, None, 405),
        ("GET", "/admin/config", None, 401),
        ("GET", "/v1/models", None, 200),
    ],
)
def test_every_answer_to_a_listed_page_has_cors(box: Box, method: str, path: str, body: Any, status: int) -> None:
    answer = box.ask(method, path, {"origin": APP}, json=body)

    assert answer.status_code == status
    cors_headers(answer)


def cors_headers(answer: httpx.Response) -> None:
    assert answer.headers["access-control-allow-origin"] == APP
    assert answer.headers["vary"] == "Origin"
    assert "access-control-allow-credentials" not in answer.headers
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    ours = [name for name in answer.headers if name.startswith(("x-router", "x-request", "retry", "openai-"))]
    assert set(ours) <= set(exposed)


def test_answers_vary_by_origin_also_without_one(box: Box) -> None:
    answer = box.ask("GET", "/v1/models", {})

    assert answer.headers["vary"] == "Origin"
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/v1/nothing", "/admin/config"])
@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        (CORS_ASKED, CORS_ASKED),
        ("X-Stainless-OS,x-tenant,x-app-id", "x-stainless-os, x-tenant, x-app-id"),
        ("authorization,x-unheard-of", "authorization"),
        ("", ""),
    ],
)
def test_a_preflight_of_a_listed_page_is_answered(box: Box, path: str, asked: str, allowed: str) -> None:
    headers = {"origin": APP, "sec-fetch-site": "cross-site", "access-control-request-method": "POST"}

    answer = box.ask("OPTIONS", path, {**headers, "access-control-request-headers": asked})

    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == APP
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == allowed
    assert answer.headers["access-control-max-age"] == "3600"
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize("box", ["off", "on"], indirect=True)
def test_a_preflight_of_another_page_is_refused(box: Box) -> None:
    headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}

    refused(box.ask("OPTIONS", CHAT, headers), "origin_not_allowed")


@pytest.mark.parametrize("box", ["off", "on", "hosts"], indirect=True)
@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:80", "127.0.0.1.nip.io"])
@pytest.mark.parametrize(("method", "path"), PATHS)
def test_names_that_are_not_listed_are_refused(box: Box, method: str, path: str, host: str) -> None:
    refused(box.ask(method, path, {"host": host}, json=BODY), "host_not_allowed")
    assert box.upstream.requests == []


@pytest.mark.parametrize("box", ["hosts"], indirect=True)
def test_a_listed_host_behind_a_trusted_proxy_is_same_origin(box: Box) -> None:
    headers = {"host": "llm.example", "x-forwarded-proto": "https", "origin": "https://llm.example"}

    assert box.ask("POST", CHAT, headers, json=BODY).status_code == 200
    refused(box.ask("POST", CHAT, {**headers, "x-forwarded-proto": "http"}, json=BODY), "origin_not_allowed")


def test_a_service_on_every_address_answers_to_every_name(http: httpx.Client, tmp_path: Path) -> None:
    config = {**configuration("http://127.0.0.1:9/v1"), "server": {"host": "0.0.0.0"}}

    with signalbox(config, tmp_path) as running:
        plain = http.get(f"{running.url}/livez", headers={"host": "llm.example"})
        rebound = http.get(f"{running.url}/livez", headers={"host": "e.example", "origin": "http://e.example"})

    assert plain.status_code == 200
    refused(rebound, "host_not_allowed")
