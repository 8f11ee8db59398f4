"""The admin API over HTTP: who gets in, what it tells, and that no secret ever comes out, here or anywhere else."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from proxy.settle.log import logging_to
from tests.support.servers import RecordingUpstream, Running, recording_upstream, signalbox
from tests.support.waiting import PATIENCE, until

TOKEN = "canary-admin-token-5b1c"
SECRETS = {
    "admin token": TOKEN,
    "pepper": "canary-pepper-0f3a-0123456789abcdef0123456789",
    "encryption key": "canary-encryption-77aa-0123456789abcdef01234",
    "provider key": "canary-provider-key-91ef",
    "second provider key": "canary-provider-key-2-c4d2",
    "header": "canary-header-6e0b",
    "proxy password": "canary-proxy-d2c8",
}
CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]
GETS = ["/admin/providers", "/admin/breakers", "/admin/config"]
ALL = [*(("GET", path) for path in GETS), ("POST", "/admin/breakers/reset")]


@dataclass(frozen=True)
class Box:
    """Signalbox, its upstream, and a client with the admin token."""

    running: Running
    upstream: RecordingUpstream
    http: httpx.Client

    def get(self, path: str, **query: Any) -> Any:
        """What an admin path answers."""
        answer = self.http.get(f"/admin/{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def reset(self, content: Any = b"") -> httpx.Response:
        """Reset breakers."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.http.post("/admin/breakers/reset", content=body)

    def chat(self, model: str, **more: Any) -> httpx.Response:
        """One call."""
        return self.http.post(CHAT, json={"model": model, "messages": HELLO, **more}, headers={"authorization": "x"})


def config(upstream: str) -> dict[str, Any]:
    return {
        "auth": {
            "admin_token": TOKEN,
            "pepper": SECRETS["pepper"],
            "encryption_key": SECRETS["encryption key"],
        },
        "providers": {
            "up": {
                "base_url": upstream,
                "keys": [
                    {"id": "main", "value": SECRETS["provider key"]},
                    {"id": "spare", "value": SECRETS["second provider key"], "weight": 3},
                ],
                "headers": {"x-extra": SECRETS["header"]},
                "any_model": True,
            },
            "far": {"base_url": upstream, "proxy": f"http://me:{SECRETS['proxy password']}@127.0.0.1:9"},
            "absent": {"base_url": upstream, "keys": [{"value": "${NOT_SET_ANYWHERE}"}]},
            "mock": {"dialect": "mock"},
        },
        "models": [
            {"id": "up/good", "tier": "low", "price": {"input": 1, "output": 2}},
            {"id": "up/status-500", "tier": "high"},
            {"id": "up/status-429"},
            {"id": "far/model"},
            {"id": "absent/model"},
            {"id": "mock/model"},
        ],
        "resilience": {
            "retry": {"attempts": 1, "same_target": 0},
            "breaker": {"consecutive": 1, "open": "10m"},
            "failures": {"rate_limit": {"rest": "10m"}},
        },
    }


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with (
        recording_upstream() as (url, upstream),
        signalbox(config(url), tmp_path_factory.mktemp("admin")) as running,
        httpx.Client(
            base_url=running.url, trust_env=False, timeout=PATIENCE, headers={"authorization": f"Bearer {TOKEN}"}
        ) as http,
    ):
        yield Box(running, upstream, http)


@pytest.fixture
def box(shared: Box) -> Box:
    shared.reset()
    shared.upstream.requests.clear()
    return shared


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service without an admin token."""
    with signalbox({"providers": {"mock": {"dialect": "mock"}}}, tmp_path_factory.mktemp("closed")) as running:
        yield running.url


# Who gets in


@pytest.mark.parametrize(("method", "path"), ALL)
@pytest.mark.parametrize("token", ["", "Bearer", "Bearer None", f"Bearer {TOKEN}"])
def test_without_a_configured_token_nobody_gets_in(closed: str, method: str, path: str, token: str) -> None:
    answer = httpx.request(method, closed + path, headers={"authorization": token}, trust_env=False, timeout=PATIENCE)

    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (403, "permission_error", "admin_disabled")
    assert "auth.admin_token" in error["message"]


@pytest.mark.parametrize(("method", "path"), ALL)
@pytest.mark.parametrize(
    "given", [None, "", "Bearer", "Bearer wrong", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN]
)
def test_without_the_right_token_nobody_gets_in(box: Box, method: str, path: str, given: str | None) -> None:
    headers = {} if given is None else {"authorization": given}

    answer = httpx.request(method, box.running.url + path, headers=headers, trust_env=False, timeout=PATIENCE)

    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (401, "authentication_error", "invalid_api_key")
    assert TOKEN not in answer.text


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/admin/keys", {"GET", "HEAD", "POST"}),
        ("/admin/keys/key_1", {"GET", "HEAD", "PATCH", "DELETE"}),
        ("/admin/breakers/reset", {"POST"}),
    ],
)
def test_a_405_names_the_methods_of_all_routes_of_the_path(box: Box, path: str, allowed: set[str]) -> None:
    answer = box.http.request("PUT", path)

    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == allowed


def test_a_token_of_odd_bytes_is_only_wrong(box: Box) -> None:
    answer = httpx.get(
        f"{box.running.url}/admin/config",
        headers={"authorization": b"Bearer \xff\xfe"},
        trust_env=False,
        timeout=PATIENCE,
    )

    assert answer.status_code == 401


@pytest.mark.parametrize("path", GETS)
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_right_token_gets_in(box: Box, path: str, scheme: str) -> None:
    answer = httpx.get(
        box.running.url + path, headers={"authorization": f"{scheme} {TOKEN}"}, trust_env=False, timeout=PATIENCE
    )

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"


def test_the_admin_token_is_not_needed_elsewhere(box: Box) -> None:
    for path in ("/v1/models", "/livez", "/readyz", "/healthz", "/metrics"):
        assert httpx.get(box.running.url + path, trust_env=False, timeout=PATIENCE).status_code == 200


# What it tells


def test_providers_are_told_with_their_keys_and_models(box: Box) -> None:
    rows = {row["id"]: row for row in box.get("providers")["data"]}

    assert set(rows) == {"up", "far", "mock", "absent"}
    assert [(key["id"], key["weight"], key["rests"]) for key in rows["up"]["keys"]] == [
        ("main", 1, []),
        ("spare", 3, []),
    ]
    assert [model["id"] for model in rows["up"]["models"]] == ["up/good", "up/status-500", "up/status-429"]
    assert rows["absent"]["status"] == "left_out"
    assert "NOT_SET_ANYWHERE" in rows["absent"]["reason"]


def test_measured_latency_is_told(box: Box) -> None:
    box.chat("up/good")

    [up] = [row for row in box.get("providers")["data"] if row["id"] == "up"]
    latency = {model["id"]: model["latency_ms"] for model in up["models"]}
    assert latency["up/good"] > 0
    assert latency["up/status-500"] is None


def test_a_resting_key_is_told_until_it_is_reset(box: Box) -> None:
    box.chat("up/status-429")

    [up] = [row for row in box.get("providers")["data"] if row["id"] == "up"]
    [rest] = [rest for key in up["keys"] for rest in key["rests"]]
    assert (rest["model"], rest["reason"]) == ("status-429", "rate_limited")
    assert rest["seconds_left"] > 0
    assert box.get("breakers")["data"] == []
    assert box.reset().json() == {"reset": 1}
    [up] = [row for row in box.get("providers")["data"] if row["id"] == "up"]
    assert [rest for key in up["keys"] for rest in key["rests"]] == []


def test_an_open_breaker_is_told_until_it_is_reset(box: Box) -> None:
    box.chat("up/status-500")

    [row] = box.get("breakers")["data"]
    assert (row["provider"], row["model"], row["state"]) == ("up", "status-500", "open")
    assert row["id"] == f"up/status-500#{row['key']}"
    assert 0 < row["open_seconds_left"] <= 600
    assert box.reset().json() == {"reset": 1}
    assert box.get("breakers")["data"] == []


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ({}, 2),
        ({"provider": None}, 2),
        ({"provider": "up"}, 2),
        ({"provider": "mock"}, 0),
        ({"model": "status-501"}, 1),
        ({"provider": "up", "model": "status-501"}, 1),
        ({"provider": "up", "key": "nobody"}, 0),
    ],
)
def test_a_reset_takes_what_it_names(box: Box, body: dict[str, Any], count: int) -> None:
    box.chat("up/status-500")
    box.chat("up/status-501")

    assert box.reset(body).json() == {"reset": count}
    assert len(box.get("breakers")["data"]) == 2 - count


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"providor": "up"}, "providor"),
        ({"provider": 5}, "provider"),
        ({"provider": ["up"]}, "provider"),
        ({"model": {}}, "model"),
        ([], "body"),
        ("up", "body"),
        (b"nonsense", "JSON"),
        (b"\xff", "JSON"),
        (b"[" * 200_000, "JSON"),
    ],
)
def test_a_wrong_reset_is_refused_and_resets_nothing(box: Box, body: Any, named: str) -> None:
    box.chat("up/status-500")

    answer = box.reset(body)

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert named in answer.json()["error"]["message"]
    assert len(box.get("breakers")["data"]) == 1


def test_the_effective_configuration_is_told(box: Box) -> None:
    shown = box.get("config")

    assert (
        shown["version"] == httpx.get(f"{box.running.url}/readyz", trust_env=False, timeout=PATIENCE).json()["config"]
    )
    assert shown["config"]["server"]["max_body"] == 32 * 1024 * 1024
    assert shown["config"]["auth"]["admin_token"] == "***"
    assert shown["config"]["providers"]["up"]["keys"][0]["value"] == "***"
    assert shown["config"]["providers"]["absent"]["keys"][0]["value"] is None
    assert shown["config"]["models"][0]["price"]["input"] == 1


# Pages


def test_a_list_comes_whole_when_it_is_short(box: Box) -> None:
    page = box.get("providers")

    assert (page["object"], page["has_more"], page["last_id"]) == ("list", False, page["data"][-1]["id"])
    assert len(page["data"]) == 4


def test_a_list_comes_in_pages(box: Box) -> None:
    whole = [row["id"] for row in box.get("providers")["data"]]
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 3}
    pages = 0
    while True:
        page = box.get("providers", **query)
        pages += 1
        seen += [row["id"] for row in page["data"]]
        if not page["has_more"]:
            break
        query["after"] = page["last_id"]

    assert seen == whole
    assert pages == 2


def test_an_empty_list_has_no_last_id(box: Box) -> None:
    assert box.get("breakers") == {"object": "list", "data": [], "has_more": False, "last_id": None}


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "", "1.5", "١", "99999999999999999999"])
def test_a_wrong_limit_is_refused(box: Box, limit: str) -> None:
    answer = box.http.get("/admin/providers", params={"limit": limit})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "limit")


@pytest.mark.parametrize("path", ["providers", "breakers"])
def test_a_page_after_nothing_is_refused(box: Box, path: str) -> None:
    answer = box.http.get(f"/admin/{path}", params={"after": "nobody"})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "after")


# Secrets


def test_no_secret_comes_out_anywhere(box: Box) -> None:
    log = io.StringIO()
    texts: dict[str, str] = {}

    with logging_to(log, patience=PATIENCE):
        for model in ("up/good", "far/model", "absent/model", "mock/model", "nothing", "tier/low", "auto"):
            for stream in (False, True):
                answer = box.chat(model, stream=stream, router={"debug": True})
                texts[f"chat {model} {stream}"] = f"{answer.headers}{answer.text}"
        for status in (400, 401, 402, 403, 404, 409, 413, 422, 429, 500, 502, 503, 529):
            for stream in (False, True):
                box.reset()
                answer = box.chat(f"up/echo-status-{status}", stream=stream, router={"debug": True})
                texts[f"error {status} {stream}"] = f"{answer.headers}{answer.text}"
        for path in (*GETS, "/v1/models", "/v1/models/up/good", "/livez", "/readyz", "/healthz", "/metrics", "/x"):
            answer = box.http.get(path)
            texts[path] = f"{answer.headers}{answer.text}"
        texts["route"] = box.http.post("/v1/route", json={"model": "auto", "messages": HELLO}).text
        texts["wrong token"] = httpx.get(f"{box.running.url}/admin/config", trust_env=False, timeout=PATIENCE).text
    texts["log"] = log.getvalue()

    assert "You sent Bearer ***." in texts["error 400 False"]
    assert "You sent Bearer ***." in texts["error 500 True"]
    assert texts["log"].count('"event": "call"') >= 40
    assert [(where, name) for where, text in texts.items() for name, secret in SECRETS.items() if secret in text] == []
    assert [where for where, text in texts.items() if "canary" in text] == []
    assert {request.headers["x-extra"] for request in box.upstream.requests} == {SECRETS["header"]}


def test_no_secret_is_in_a_refused_reload(box: Box) -> None:
    broken = config("http://127.0.0.1:9/v1") | {"providers": {"up": {"keys": [{"value": SECRETS["provider key"]}] * 2}}}
    good = box.running.config.read_text()
    log = io.StringIO()

    with logging_to(log, patience=PATIENCE):
        box.running.config.write_text(json.dumps(broken))
        box.running.service.reload()
        ready = until(lambda: "config_error" in (text := box.http.get("/readyz").text) and text)
        box.running.config.write_text(good)
        box.running.service.reload()
        until(lambda: "config_error" not in box.http.get("/readyz").text)

    assert "configuration rejected" in log.getvalue()
    assert "canary" not in f"{log.getvalue()}{ready}"
