"""Agents from the admin API to the upstream, on real sockets: one service, and two that share a store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.servers import RecordingUpstream, recording_upstream, signalbox
from tests.support.waiting import until

ADMIN = {"authorization": "Bearer the-admin-token"}
HELLO: Any = [{"role": "user", "content": "Hello"}]
WRITER = {"id": "writer", "model": "up/small", "instructions": "Be {{tone}}.", "variables": {"tone": "brief"}}


@dataclass(frozen=True)
class Boxes:
    """Services on one store, and their upstream."""

    urls: list[str]
    upstream: RecordingUpstream

    def admin(self, method: str, path: str, body: Any = None, *, box: int = 0) -> httpx.Response:
        return httpx.request(method, f"{self.urls[box]}/admin/{path}", json=body, headers=ADMIN)

    def ask(self, model: str, *, box: int = 0, path: str = "chat/completions", **more: Any) -> httpx.Response:
        return httpx.post(f"{self.urls[box]}/v1/{path}", json={"model": model, "messages": HELLO, **more})

    def system(self) -> str:
        """The instructions that reached the upstream with the last call."""
        return str(self.upstream.requests[-1].body["messages"][0]["content"])


def config(upstream: str, store: str) -> dict[str, Any]:
    return {
        "auth": {"admin_token": "the-admin-token"},
        "store": store,
        "providers": {"up": {"base_url": upstream}},
        "models": [{"id": "up/small"}, {"id": "up/large"}, {"id": "up/embed", "kind": "embedding"}],
        "agents": {"fixed": {"model": "up/large", "instructions": "Be fixed."}},
    }


@pytest.fixture(params=[1, 2])
def boxes(request: pytest.FixtureRequest, tmp_path: Path, postgres_url: str) -> Iterator[Boxes]:
    """One service with SQLite, then two with PostgreSQL."""
    with ExitStack() as stack:
        address, upstream = stack.enter_context(recording_upstream())
        urls = []
        for number in range(request.param):
            folder = tmp_path / str(number)
            folder.mkdir()
            store = "sqlite" if request.param == 1 else postgres_url
            urls.append(stack.enter_context(signalbox(config(address, store), folder)).url)
        yield Boxes(urls, upstream)


def test_an_agent_is_usable_at_once_everywhere(boxes: Boxes) -> None:
    created = boxes.admin("POST", "agents", WRITER)

    assert (created.status_code, created.json()["labels"]) == (201, {"production": "1"})
    for box in range(len(boxes.urls)):
        assert boxes.ask("agent/writer", box=box, router={"variables": {"tone": "dry"}}).status_code == 200
        assert boxes.system() == "Be dry."
        decided = boxes.ask("agent/writer", box=box, path="route").json()
        assert (decided["agent"], decided["chosen"]) == ({"id": "writer", "version": "1"}, "up/small")


def test_an_agent_is_usable_on_every_surface(boxes: Boxes) -> None:
    boxes.admin("POST", "agents", WRITER)
    url = boxes.urls[-1]
    prompt = {"id": "writer", "version": "1", "variables": {"tone": "dry"}}
    messages = {"model": "agent/writer", "max_tokens": 5, "messages": HELLO}
    contents = {"contents": [{"parts": [{"text": "Hello"}]}]}

    answers = {
        "Be dry.": httpx.post(f"{url}/v1/responses", json={"prompt": prompt, "input": "Hello"}),
        "Be brief.\n\nBe kind.": httpx.post(f"{url}/v1/messages", json={**messages, "system": "Be kind."}),
        "Be brief.": httpx.post(f"{url}/v1beta/models/agent/writer:generateContent", json=contents),
    }

    assert [answer.status_code for answer in answers.values()] == [200, 200, 200]
    assert [request.body["messages"][0]["content"] for request in boxes.upstream.requests] == list(answers)


def test_a_version_and_a_label_are_found_by_another_service(boxes: Boxes) -> None:
    boxes.admin("POST", "agents", WRITER)
    assert boxes.ask("agent/writer", box=-1).status_code == 200

    boxes.admin("PATCH", "agents/writer", {"instructions": "Be long.", "labels": {"staging": "latest"}})

    for name, text in (("@2", "Be long."), ("@staging", "Be long."), ("@latest", "Be long."), ("@1", "Be brief.")):
        assert boxes.ask(f"agent/writer{name}", box=-1).status_code == 200
        assert boxes.system() == text
    assert boxes.ask("agent/writer").status_code == 200
    assert boxes.system() == "Be brief."


def test_earlier_versions_stay_usable(boxes: Boxes) -> None:
    boxes.admin("POST", "agents", WRITER)
    for text in ("Two.", "Three."):
        boxes.admin("PATCH", "agents/writer", {"instructions": text, "variables": None})

    for box in range(len(boxes.urls)):
        boxes.ask("agent/writer@2", box=box)
        assert boxes.system() == "Two."
    moved = boxes.admin("POST", "agents/writer/labels", {"label": "production", "version": 2})
    boxes.ask("agent/writer")

    assert (moved.json()["version"], boxes.system()) == ("2", "Two.")


def test_a_deleted_agent_is_gone(boxes: Boxes) -> None:
    boxes.admin("POST", "agents", WRITER)

    assert boxes.admin("DELETE", "agents/writer").json() == {"id": "writer", "deleted": True}

    refused = boxes.ask("agent/writer")
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")
    assert boxes.admin("GET", "agents/writer").status_code == 404


def test_agents_are_listed_for_clients_and_admins(boxes: Boxes) -> None:
    boxes.admin("POST", "agents", WRITER)

    listed = {model["id"]: model["type"] for model in httpx.get(f"{boxes.urls[0]}/v1/models").json()["data"]}
    agents = boxes.admin("GET", "agents").json()["data"]

    assert "agent/writer" in listed
    assert "agent/fixed" in listed
    assert [(agent["id"], agent["source"]) for agent in agents] == [("fixed", "file"), ("writer", "store")]


def test_the_record_of_a_call_has_the_agent(boxes: Boxes) -> None:
    boxes.admin("POST", "agents", WRITER)
    id = boxes.ask("agent/writer@latest").headers["x-router-id"]
    boxes.ask("up/small")

    rows = until(lambda: boxes.admin("GET", "requests?agent=writer").json()["data"])
    record = boxes.admin("GET", f"requests/{id}").json()

    assert [(row["id"], row["model"]) for row in rows] == [(id, "agent/writer@latest")]
    assert (record["agent"], record["agent_version"], record["route"]) == ("writer", "1", "up/small")
    assert record["decision"]["agent"] == {"id": "writer", "version": "1"}


MISTAKES: list[tuple[Any, str | None]] = [
    ({}, "id"),
    ({"id": "a/b", "model": "up/small"}, "id"),
    ({"id": "writer"}, "model"),
    ({"id": "writer", "model": "gpt-9"}, "model"),
    ({"id": "writer", "model": "agent/fixed"}, "model"),
    ({"id": "writer", "model": "up/embed"}, "model"),
    ({"id": "writer", "model": "up/small", "prams": {}}, "prams"),
    ({"id": "writer", "model": "up/small", "params": {"stream": True}}, "params"),
    ({"id": "writer", "model": "up/small", "tools": [{}]}, "tools"),
    ({"id": "writer", "model": "up/small", "variables": {"a b": "x"}}, "variables.a b"),
    ({"id": "writer", "model": "up/small", "instructions": 5}, "instructions"),
    ({"id": "writer", "model": "up/small", "labels": ["production"]}, "labels"),
    ({"id": "writer", "model": "up/small", "labels": {"latest": 1}}, "labels.latest"),
    ({"id": "writer", "model": "up/small", "labels": {"production": True}}, "labels.production"),
    ({"id": "writer", "model": "up/small", "labels": {"production": 7}}, "labels"),
    ({"id": "fixed", "model": "up/small"}, "id"),
    ({"id": "writer", "model": "up/small", "description": "\ud800"}, "description"),
    ({"id": "writer", "model": "up/small", "params": {"x": "y" * 100_000}}, None),
]


@pytest.mark.parametrize("boxes", [1], indirect=True)
def test_a_mistake_in_a_definition_is_named(boxes: Boxes) -> None:
    answers = []
    for body, _ in MISTAKES:
        refused = httpx.post(f"{boxes.urls[0]}/admin/agents", content=json.dumps(body), headers=ADMIN)
        answers.append((refused.status_code, refused.json()["error"]["param"]))

    assert answers == [(400, param) for _, param in MISTAKES]
    assert [agent["id"] for agent in boxes.admin("GET", "agents").json()["data"]] == ["fixed"]


@pytest.mark.parametrize("boxes", [1], indirect=True)
def test_versions_and_labels_are_shown_and_moved(boxes: Boxes) -> None:
    boxes.admin("POST", "agents", WRITER)
    added = boxes.admin("POST", "agents/writer/versions", {"model": "up/large"})
    boxes.admin("PUT", "agents/writer/labels/beta", {"version": "latest"})
    pages = [boxes.admin("GET", "agents/writer/versions?limit=1").json()]
    pages.append(boxes.admin("GET", f"agents/writer/versions?after={pages[0]['last_id']}").json())
    shown = boxes.admin("GET", "agents/writer").json()

    assert (added.status_code, added.json()["version"], added.json()["instructions"]) == (201, "2", "")
    assert [row["id"] for page in pages for row in page["data"]] == ["writer@2", "writer@1"]
    assert [page["has_more"] for page in pages] == [True, False]
    assert (shown["version"], shown["latest"], shown["model"]) == ("1", "2", "up/small")
    assert shown["labels"] == {"beta": "2", "production": "1"}
    assert boxes.admin("GET", "agents/writer/versions/beta").json()["labels"] == ["beta"]
    assert boxes.admin("DELETE", "agents/writer/labels/beta").json() == {"id": "beta", "deleted": True}
    assert [row["id"] for row in boxes.admin("GET", "agents/writer/labels").json()["data"]] == ["production"]
    assert boxes.admin("GET", "agents/writer/versions/beta").status_code == 404


@pytest.mark.parametrize("boxes", [1], indirect=True)
def test_an_agent_of_the_file_is_shown_and_not_changed(boxes: Boxes) -> None:
    shown = boxes.admin("GET", "agents/fixed").json()
    [version] = boxes.admin("GET", "agents/fixed/versions").json()["data"]
    refused = [
        boxes.admin("PATCH", "agents/fixed", {"instructions": "x"}),
        boxes.admin("POST", "agents/fixed/versions", {"model": "up/small"}),
        boxes.admin("PUT", "agents/fixed/labels/beta", {"version": 1}),
        boxes.admin("DELETE", "agents/fixed"),
    ]

    assert (shown["source"], shown["instructions"], shown["version"]) == ("file", "Be fixed.", version["version"])
    assert boxes.admin("GET", f"agents/fixed/versions/{version['version']}").json() == version
    assert [answer.status_code for answer in refused] == [400, 400, 400, 400]
    assert {answer.json()["error"]["message"][-21:] for answer in refused} == {"file; change it there."[-21:]}
