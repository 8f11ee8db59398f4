"""`auto` with a language model as its classifier, and stored prompts, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from proxy.classifier import NOT_ASKED
from tests.support.accounts import PEPPER
from tests.support.servers import RecordingUpstream, recording_upstream, signalbox
from tests.support.waiting import until

ADMIN = {"authorization": "Bearer the-admin-token"}
QUESTION = "Which numbers are perfect, and why?"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, RecordingUpstream]]:
    with recording_upstream() as (address, upstream):
        config: dict[str, Any] = {
            "store": "sqlite",
            "auth": {"mode": "keys", "admin_token": "the-admin-token", "pepper": PEPPER},
            "providers": {"up": {"base_url": address}},
            "models": [
                {"id": "up/judge", "enabled": True},
                {"id": "up/small", "tier": "low"},
                {"id": "up/large", "tier": "high"},
            ],
            "routing": {"classifier": {"kind": "llm", "model": "up/judge", "deadline": "10s"}},
            "prompts": {"store": True},
        }
        with signalbox(config, tmp_path_factory.mktemp("classifier")) as service:
            yield service.url, upstream


def credential(url: str) -> dict[str, str]:
    key = httpx.post(f"{url}/admin/keys", json={"name": "k"}, headers=ADMIN).json()["key"]
    return {"authorization": f"Bearer {key}"}


def ask(url: str, path: str, by: dict[str, str], text: str = QUESTION, model: str = "auto") -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    return httpx.post(f"{url}/v1/{path}", json=body, headers=by)


def recorded(url: str, query: str = "") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = httpx.get(f"{url}/admin/requests{query}", headers=ADMIN).json()["data"]
    return rows


def test_the_model_classifies_and_the_ledger_has_its_calls(box: tuple[str, RecordingUpstream]) -> None:
    url, upstream = box
    by = credential(url)

    earlier = len(upstream.requests)
    local = ask(url, "route", by).json()["profile"]
    requests_of_route = upstream.requests[earlier:]
    answered = ask(url, "chat/completions", by)
    remembered = ask(url, "route", by).json()["profile"]

    models = [each.body["model"] for each in upstream.requests[earlier:]]
    assert (answered.status_code, models[0], models.count("judge"), len(models)) == (200, "judge", 1, 2)
    assert (requests_of_route, local["fallback"], remembered["classifier"]) == ([], NOT_ASKED, "llm up/judge")
    records = until(lambda: recorded(url, "?key=classifier"))
    assert [each["request_id"] for each in records] == [answered.headers["x-router-id"]]


def test_prompts_are_listed_for_their_tenant_alone(box: tuple[str, RecordingUpstream]) -> None:
    url, _ = box
    by, other = credential(url), credential(url)
    ids = [ask(url, "chat/completions", by, text).headers["x-router-id"] for text in ("First?", "Second?")]
    ask(url, "chat/completions", by, model="up/small")

    page = httpx.get(f"{url}/v1/prompts", headers=by).json()
    [first] = httpx.get(f"{url}/v1/prompts?after={ids[1]}", headers=by).json()["data"]

    assert [each["id"] for each in page["data"]] == ids[::-1]
    assert (first["prompt"], first["profile"]["classifier"]) == ("First?", "llm up/judge")
    assert httpx.get(f"{url}/v1/prompts/{ids[0]}", headers=by).json() == first
    assert httpx.get(f"{url}/v1/prompts", headers=other).json()["data"] == []
    for method in ("GET", "DELETE"):
        answer = httpx.request(method, f"{url}/v1/prompts/{ids[0]}", headers=other)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_a_prompt_can_be_deleted(box: tuple[str, RecordingUpstream]) -> None:
    url, _ = box
    by = credential(url)
    id = ask(url, "route", by, "Third?").headers["x-router-id"]

    deleted = httpx.delete(f"{url}/v1/prompts/{id}", headers=by)

    assert deleted.json() == {"id": id, "object": "prompt.deleted", "deleted": True}
    assert httpx.get(f"{url}/v1/prompts/{id}", headers=by).status_code == 404


def test_records_have_no_text_of_a_prompt(box: tuple[str, RecordingUpstream]) -> None:
    url, _ = box
    id = ask(url, "chat/completions", credential(url), "Zanzibar?").headers["x-router-id"]

    until(lambda: [each for each in recorded(url) if each["id"] == id])

    for record in recorded(url):
        assert "anzibar" not in httpx.get(f"{url}/admin/requests/{record['id']}", headers=ADMIN).text


def test_without_a_store_there_are_no_prompts(tmp_path: Path) -> None:
    with signalbox({"providers": {"mock": {"dialect": "mock"}}}, tmp_path) as service:
        answer = httpx.get(f"{service.url}/v1/prompts")

    assert answer.status_code == 400
    assert "configure `store`" in answer.json()["error"]["message"]
