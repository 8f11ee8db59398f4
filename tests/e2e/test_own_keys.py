"""Users' own provider keys in calls: which key reaches the provider, and who can see or change which."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.servers import Process, signalbox_process
from tests.support.upstreams import Upstream, refuse, running, whole
from tests.support.waiting import PATIENCE, until

TOKEN = "canary-admin-token-1f2e"
POOLED, OWN, NEWER = "sk-pooled-0123456789ab", "sk-canary-own-key-ab12cd34ef56", "sk-canary-newer-key-78ab90cd12ef"
USERS = ("ann", "bob", "eve")


@dataclass(frozen=True)
class Box:
    """Signalbox with the credentials of users, before an upstream."""

    process: Process
    upstream: Upstream
    http: httpx.Client
    keys: dict[str, str]

    def as_(self, user: str, method: str, path: str, **more: Any) -> httpx.Response:
        """Make a request with the key of a user, or with the admin token."""
        credential = TOKEN if user == "admin" else self.keys[user]
        return self.http.request(method, path, headers={"authorization": f"Bearer {credential}"}, **more)

    def put(self, user: str, value: str = OWN, provider: str = "up") -> httpx.Response:
        """Store a user's own key."""
        return self.as_(user, "PUT", "/v1/provider-keys", json={"provider": provider, "value": value})

    def ask(self, user: str, model: str = "up/m", **more: Any) -> httpx.Response:
        """Make one call."""
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}
        return self.as_(user, "POST", "/v1/chat/completions", json=body)

    def used(self) -> list[str]:
        """The keys that have reached the upstream since the last time."""
        found = [request.headers["authorization"].removeprefix("Bearer ") for request in self.upstream.requests]
        self.upstream.requests.clear()
        return found


def config(url: str) -> dict[str, Any]:
    return {
        "store": "sqlite",
        "auth": {"mode": "keys", "admin_token": TOKEN, "pepper": "p" * 32, "encryption_key": "k" * 32},
        "providers": {
            "up": {"base_url": url, "keys": [{"value": POOLED}]},
            "only": {"base_url": url, "keys": [""], "user_keys": "only"},
        },
        "models": [{"id": "up/m"}, {"id": "only/m", "price": {"input": 100, "output": 200}}],
        "budgets": [{"scope": "provider", "id": "only", "usd": 0}],
        "resilience": {"retry": {"backoff": "1ms", "max_backoff": "1ms"}},
    }


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with (
        running(Upstream()) as upstream,
        signalbox_process(config(upstream.url), tmp_path_factory.mktemp("own")) as process,
        httpx.Client(base_url=process.url, trust_env=False, timeout=PATIENCE) as http,
    ):
        box = Box(process, upstream, http, {})
        for user in USERS:
            assert box.as_("admin", "POST", "/admin/users", json={"id": user}).status_code == 201
            box.keys[user] = box.as_("admin", "POST", "/admin/keys", json={"name": user, "user": user}).json()["key"]
        box.keys["nobody"] = box.as_("admin", "POST", "/admin/keys", json={"name": "nobody"}).json()["key"]
        yield box


@pytest.fixture
def box(shared: Box) -> Box:
    for row in shared.as_("admin", "GET", "/admin/provider-keys").json()["data"]:
        shared.as_("admin", "DELETE", f"/admin/provider-keys/{row['id']}")
    shared.as_("admin", "POST", "/admin/breakers/reset")
    shared.upstream.clear()
    return shared


def error(answer: httpx.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.json()["error"]["code"]


def test_each_user_pays_with_its_own_key(box: Box) -> None:
    box.ask("ann")  # the absence of a key is cached
    assert box.put("ann").status_code == 201

    answers = [box.ask("ann"), box.ask("bob"), box.ask("nobody"), box.ask("ann", stream=True)]

    assert [answer.status_code for answer in answers] == [200] * 4
    assert box.used() == [POOLED, OWN, POOLED, POOLED, OWN]


def test_replaced_and_deleted_keys_take_effect_at_once(box: Box) -> None:
    row = box.put("ann").json()
    box.ask("ann")
    replaced = box.put("ann", NEWER).json()
    box.ask("ann")

    deleted = box.as_("ann", "DELETE", f"/v1/provider-keys/{row['id']}")
    box.ask("ann")

    assert (replaced["id"], replaced["version"], deleted.status_code) == (row["id"], 2, 200)
    assert box.used() == [OWN, NEWER, POOLED]


def test_rejected_key_is_a_400_that_names_it_until_it_is_replaced(box: Box) -> None:
    row = box.put("ann").json()
    box.upstream.script("m", refuse(401, f"Incorrect API key provided: {OWN}"), whole)

    first, second, other = box.ask("ann"), box.ask("ann"), box.ask("bob")
    assert [error(first), error(second), other.status_code] == [(400, "provider_key_rejected")] * 2 + [200]
    assert row["id"] in first.text
    assert OWN not in first.text
    assert first.headers["x-should-retry"] == "false"
    assert box.used() == [OWN, POOLED]

    box.put("ann", NEWER)
    assert (box.ask("ann").status_code, box.used()) == (200, [NEWER])


def test_pooled_key_follows_a_rate_limit(box: Box) -> None:
    box.put("ann")
    box.upstream.script("m", refuse(429, headers={"retry-after": "60"}), whole)

    assert [box.ask("ann").status_code, box.ask("ann").status_code] == [200, 200]
    assert box.used() == [OWN, POOLED, POOLED]


def test_provider_for_own_keys_only_needs_no_key_and_no_budget(box: Box) -> None:
    missing = box.ask("ann", "only/m")
    assert error(missing) == (400, "provider_key_required")
    assert "PUT /v1/provider-keys" in missing.text

    box.put("ann", provider="only")

    assert box.ask("ann", "only/m").status_code == 200
    assert error(box.ask("bob", "only/m")) == (400, "provider_key_required")
    assert box.used() == [OWN]


def test_spending_with_an_own_key_is_recorded_apart(box: Box) -> None:
    box.put("eve", provider="only")
    answer = box.ask("eve", "only/m")
    cost = float(answer.headers["x-router-cost-usd"])

    def usage() -> dict[str, Any] | None:
        params = {"group_by": "user,provider"}
        rows = box.as_("admin", "GET", "/admin/usage", params=params).json()["data"]
        return next((row for row in rows if (row["user"], row["provider"]) == ("eve", "only")), None)

    row: Any = until(usage)
    record = box.as_("admin", "GET", f"/admin/requests/{answer.headers['x-router-id']}").json()

    assert cost > 0
    assert (row["cost_usd"], row["own_key_cost_usd"]) == (0, pytest.approx(cost, abs=1e-12))
    assert [attempt["own_key"] for attempt in record["attempts"]] == [True]
    [budget] = box.as_("admin", "GET", "/admin/budgets").json()["data"]
    assert (budget["spent_usd"], budget["reserved_usd"]) == (0, 0)


def test_users_neither_see_nor_change_keys_of_others(box: Box) -> None:
    row = box.put("ann").json()

    seen = {user: box.as_(user, "GET", "/v1/provider-keys").json()["data"] for user in USERS}
    deleted = box.as_("bob", "DELETE", f"/v1/provider-keys/{row['id']}")
    asked = box.as_("bob", "PUT", "/v1/provider-keys", json={"user": "ann", "provider": "up", "value": NEWER})
    admin = [box.as_("bob", method, "/admin/provider-keys").status_code for method in ("GET", "PUT", "DELETE")]
    nobody = [box.as_("nobody", method, "/v1/provider-keys").status_code for method in ("GET", "PUT")]

    assert seen == {"ann": [row], "bob": [], "eve": []}
    assert (error(deleted), error(asked), asked.json()["error"]["param"]) == ((404, "not_found"), (400, None), "user")
    assert (set(admin), set(nobody)) == ({403}, {403})
    box.ask("ann")
    assert box.used() == [OWN]


def test_admin_stores_keys_for_known_users_only(box: Box) -> None:
    body = {"user": "eve", "provider": "up", "value": OWN}

    known = box.as_("admin", "PUT", "/admin/provider-keys", json=body)
    unknown = box.as_("admin", "PUT", "/admin/provider-keys", json={**body, "user": "mallory"})

    assert known.status_code == 201
    assert (unknown.status_code, unknown.json()["error"]["param"]) == (400, "user")
    box.ask("eve")
    assert box.used() == [OWN]


def test_no_sink_contains_a_key(box: Box) -> None:
    box.put("ann", provider="only")
    answers = [box.ask("ann", "only/m", router={"debug": True})]
    for script in (refuse(400, f"no {OWN}"), refuse(500, f"no {OWN}"), refuse(401, f"no {OWN}")):
        box.upstream.script("m", script)
        answers.append(box.ask("ann", "only/m"))
    paths = (
        "providers",
        "breakers",
        "config",
        "limits",
        "queues",
        "provider-keys",
        "audit",
        "keys",
        "users",
        "requests",
    )
    answers += [box.as_("admin", "GET", f"/admin/{path}") for path in paths]
    answers.append(box.http.get("/metrics"))

    texts = [json.dumps(dict(answer.headers)) + answer.text for answer in answers] + [box.process.log.read_text()]

    assert [text for text in texts if OWN in text or OWN[3:20] in text] == []
    assert "pk_" in answers[0].text  # the id of the key is in the decision record
    assert "pk_" not in box.http.get("/metrics").text


def test_change_takes_effect_in_all_workers_at_once(tmp_path: Path) -> None:
    with running(Upstream()) as upstream:
        settings = {**config(upstream.url), "server": {"workers": 2}, "budgets": []}
        with (
            signalbox_process(settings, tmp_path) as process,
            httpx.Client(base_url=process.url, trust_env=False) as http,
        ):
            admin = {"authorization": f"Bearer {TOKEN}"}
            http.post("/admin/users", json={"id": "ann"}, headers=admin).raise_for_status()
            made = http.post("/admin/keys", json={"name": "x", "user": "ann"}, headers=admin)

            def calls() -> set[str]:
                for _ in range(8):  # over new connections, which the workers share
                    with httpx.Client(base_url=process.url, trust_env=False, timeout=PATIENCE) as one:
                        box = Box(process, upstream, one, {"ann": made.json()["key"]})
                        answer = box.ask("ann")
                        if answer.status_code == 503:  # the key was not looked up in time: a busy machine
                            answer = box.ask("ann")
                        assert answer.status_code == 200, answer.text
                return set(box.used())

            box = Box(process, upstream, http, {"ann": made.json()["key"]})
            used = [calls()]
            row = box.put("ann").json()
            used.append(calls())
            box.as_("ann", "DELETE", f"/v1/provider-keys/{row['id']}")
            used.append(calls())

    assert used == [{POOLED}, {OWN}, {POOLED}]
