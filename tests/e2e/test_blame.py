"""Whom a failure blames, from outside: what the client gets, what the upstream received, and what the operator sees."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests.support import upstreams
from tests.support.servers import Running, signalbox
from tests.support.upstreams import DONE, FINISH, ROLE, Upstream, event, plain, refuse, stream, words
from tests.unit.dialects.vendors import CLIENTS, VENDORS

ADMIN = {"authorization": "Bearer admin"}
KEYS = [{"id": "one", "value": "sk-one-00000000"}, {"id": "two", "value": "sk-two-00000000"}]
OURS = [row for row in VENDORS if row[0] == "openai" and row[4] in ("key_rejected", "model_missing", "wrong_address")]
THEIRS = [row for row in CLIENTS if row[0] == "openai"]


@pytest.fixture(scope="module")
def box(module_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    config = {
        "store": "none",
        "auth": {"admin_token": "admin"},
        "providers": {
            "bad": {"base_url": module_upstream.url, "keys": KEYS},
            "good": {"base_url": module_upstream.url, "keys": KEYS},
        },
        "models": [{"id": "bad/a"}, {"id": "good/b"}],
        "routing": {"scenarios": {"s": ["bad/a", "good/b"]}},
        "resilience": {"retry": {"budget": {"floor": 1000}}},
    }
    with ExitStack() as stack:
        yield stack.enter_context(signalbox(config, tmp_path_factory.mktemp("box")))


@pytest.fixture
def upstream(module_upstream: Upstream, box: Running, http: httpx.Client) -> Upstream:
    module_upstream.clear()
    http.post(f"{box.url}/admin/breakers/reset", headers=ADMIN).raise_for_status()
    return module_upstream


def ask(http: httpx.Client, box: Running, model: str = "scenario/s", **more: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **more}
    return http.post(f"{box.url}/v1/chat/completions", json=body)


def raw(body: Any) -> bytes:
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


def kind_of(body: Any) -> str:
    return "text/html" if isinstance(body, str) else "application/json"


@pytest.mark.parametrize("row", OURS, ids=lambda row: f"{row[1]}-{row[2]}")
def test_what_blames_our_side_is_never_seen(http: httpx.Client, box: Running, upstream: Upstream, row: Any) -> None:
    upstream.script("a", plain(raw(row[3]), row[2], kind_of(row[3])))

    answer = ask(http, box)

    assert answer.status_code == 200
    assert answer.headers["x-router-model"] == "b"
    keys = 1 if row[4] == "wrong_address" else 2
    assert upstream.models == ["a"] * keys + ["b"]


@pytest.mark.parametrize("row", THEIRS, ids=lambda row: f"{row[2]}")
def test_what_blames_the_request_is_tried_once(http: httpx.Client, box: Running, upstream: Upstream, row: Any) -> None:
    upstream.script("a", plain(raw(row[3]), row[2], "application/json"))

    answer = ask(http, box)

    assert (answer.status_code, upstream.models) == (row[2], ["a"])
    assert answer.headers["x-should-retry"] == "false"


def test_a_target_that_keeps_refusing_is_left_alone_and_told_of(
    http: httpx.Client, box: Running, upstream: Upstream
) -> None:
    upstream.script("a", plain(b"<html>404</html>", 404, "text/html"))

    for _ in range(8):
        assert ask(http, box).status_code == 200
    rows = http.get(f"{box.url}/admin/providers", headers=ADMIN).json()["data"]
    health = next(row["health"] for row in rows if row.get("id", row.get("name")) == "bad")

    assert 0 < upstream.models.count("a") <= 6
    assert health["status"] in ("degraded", "unhealthy")
    assert "base_url" in health["advice"]


def test_a_wrong_path_and_a_missing_model_are_told_apart(http: httpx.Client, box: Running, upstream: Upstream) -> None:
    upstream.script("a", plain(b'{"detail":"Not Found"}', 404))
    path = ask(http, box, "bad/a")
    upstream.script("a", refuse(404, "The model `a` does not exist", code="model_not_found"))
    model = ask(http, box, "bad/a")

    assert (path.status_code, path.json()["error"]["code"]) == (502, "upstream_error")
    assert "check `base_url`" in path.json()["error"]["message"]
    assert (model.status_code, model.json()["error"]["code"]) == (404, "model_not_found")


def test_a_limit_is_not_hidden_by_the_fallbacks_refusal(http: httpx.Client, box: Running, upstream: Upstream) -> None:
    upstream.script("a", refuse(429, headers={"retry-after": "30"}))
    upstream.script("b", refuse(400, "Bad parameter"))

    answer = ask(http, box)

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "30")
    assert "`good/b`: Bad parameter" in answer.json()["error"]["message"]


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize(
    "value",
    [
        {"error": {"message": "broke"}, "choices": [{"index": 0, "delta": {}, "message": {"content": "x"}}]},
        {"choices": [{"index": 0, "delta": {"content": ""}, "message": {"content": ""}, "finish_reason": "error"}]},
        {"object": "error", "message": "broke"},
        {"detail": "broke"},
        {"message": "broke", "code": 500},
    ],
)
def test_an_error_in_a_200_fails_over(
    http: httpx.Client, box: Running, upstream: Upstream, value: dict[str, Any], streams: bool
) -> None:
    upstream.script("a", stream([ROLE, event(value), DONE]) if streams else plain(json.dumps(value).encode()))

    answer = ask(http, box, stream=streams)

    assert (answer.status_code, answer.headers["x-router-model"]) == (200, "b")


def test_an_error_in_mid_stream_ends_it_without_done(http: httpx.Client, box: Running, upstream: Upstream) -> None:
    upstream.script("a", stream([ROLE, *words("a"), event({"object": "error", "message": "broke"}), DONE]))

    text = ask(http, box, stream=True).text

    assert "[DONE]" not in text
    assert '"error"' in text.split("data: ")[-1]


def test_an_error_after_a_complete_answer_passes_with_done(
    http: httpx.Client, box: Running, upstream: Upstream
) -> None:
    events = [ROLE, *words("a"), FINISH, event({"error": upstreams.error("late")["error"]}), DONE]
    upstream.script("a", stream(events))

    text = ask(http, box, stream=True).text

    assert text.endswith("data: [DONE]\n\n")
    assert "late" in text
