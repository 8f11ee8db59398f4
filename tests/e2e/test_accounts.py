"""Keys, users, models and usage of a real service, changed through its API and from the shell, over each database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import yaml
from click.testing import CliRunner

from proxy.cli import main
from tests.support.servers import Process, Running, signalbox, signalbox_process
from tests.support.waiting import PATIENCE, until

TOKEN = "canary-admin-token-77b1"
PEPPER = "canary-pepper-77b1-0123456789abcdef012345"
HELLO = [{"role": "user", "content": "Hello"}]


@dataclass(frozen=True)
class Box:
    """A service and its clients."""

    process: Process
    config: Path
    admin: httpx.Client

    def shell(self, *arguments: str, code: int = 0) -> str:
        """Run a command beside the service, and return what it prints."""
        result = CliRunner().invoke(main, [*arguments, "--config", str(self.config)])
        assert result.exit_code == code, result.output
        return result.stdout

    def refused(self, *arguments: str, code: int) -> str:
        """Run a command that fails, and return all that it prints."""
        result = CliRunner().invoke(main, [*arguments, "--config", str(self.config)])
        assert result.exit_code == code, result.output
        return result.output

    def chat(self, key: str, model: str = "mock/small", **more: Any) -> httpx.Response:
        """One call, on a connection of its own, so that any worker may receive it."""
        body = {"model": model, "messages": HELLO, **more}
        headers = {"authorization": f"Bearer {key}"}
        with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
            return client.post(f"{self.process.url}/v1/chat/completions", json=body, headers=headers)

    def statuses(self, key: str, model: str = "mock/small") -> set[int]:
        """The statuses of several calls at once, which reach all workers."""
        with ThreadPoolExecutor(8) as pool:
            return {answer.status_code for answer in pool.map(lambda _: self.chat(key, model), range(8))}

    def ok(self, method: str, path: str, body: Any = None) -> Any:
        """Return the answer to a request of the admin API that succeeds."""
        answer = self.admin.request(method, f"/admin/{path}", json=body)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()


@contextmanager
def serving(store: str, folder: Path, workers: int) -> Iterator[Box]:
    """A service over a store."""
    config = {
        "store": store,
        "data_dir": str(folder / "data"),
        "server": {"workers": workers},
        "auth": {"mode": "keys", "admin_token": TOKEN, "pepper": PEPPER},
        "providers": {"mock": {"dialect": "mock"}},
        "models": [{"id": "mock/small", "tier": "low", "price": {"input": 1, "output": 2}}, {"id": "mock/large"}],
    }
    (folder / "signalbox.yaml").write_text(yaml.safe_dump(config))
    assert CliRunner().invoke(main, ["migrate", "--config", str(folder / "signalbox.yaml")]).exit_code == 0
    headers = {"authorization": f"Bearer {TOKEN}"}
    with (
        signalbox_process(config, folder) as process,
        httpx.Client(base_url=process.url, headers=headers, trust_env=False, timeout=PATIENCE) as admin,
    ):
        yield Box(process, folder / "signalbox.yaml", admin)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A service with two workers."""
    folder = tmp_path_factory.mktemp("accounts")
    with serving(f"sqlite:///{folder}/signalbox.db", folder, workers=2) as box:
        yield box


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def single(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A service with one worker, over each database."""
    folder = tmp_path_factory.mktemp("single")
    store = f"sqlite:///{folder}/signalbox.db"
    if request.param == "postgresql":
        postgres = request.getfixturevalue("postgres")
        store = postgres.url(postgres.create())
    with serving(store, folder, workers=1) as box:
        yield box


def test_a_key_from_the_shell_is_accepted_by_the_service(single: Box) -> None:
    single.shell("users", "create", "shell-user", "--rpm", "1000")
    key = single.shell("keys", "create", "--name", "shell", "--user", "shell-user").strip()

    assert single.statuses(key) == {200}
    assert "shell-user" in single.shell("keys", "list")
    [row] = [row for row in single.ok("GET", "keys")["data"] if row["name"] == "shell"]
    assert row["created_by"].startswith("shell:")
    assert json.loads(single.shell("keys", "show", row["id"], "--json")) == row


def test_a_change_is_in_force_in_all_workers_when_it_is_answered(box: Box) -> None:
    made = box.ok("POST", "keys", {"name": "switched"})
    before = box.statuses(made["key"])

    box.ok("PATCH", f"keys/{made['id']}", {"disabled": True})
    disabled = box.statuses(made["key"])
    box.ok("PATCH", f"keys/{made['id']}", {"disabled": False})
    enabled = box.statuses(made["key"])
    box.ok("DELETE", f"keys/{made['id']}")
    deleted = box.statuses(made["key"])

    assert (before, enabled, deleted) == ({200}, {200}, {401})
    assert disabled <= {401, 403}


def test_a_disabled_user_has_no_working_key(box: Box) -> None:
    box.ok("POST", "users", {"id": "disabled-user"})
    made = box.ok("POST", "keys", {"name": "n", "user": "disabled-user"})
    before = box.statuses(made["key"])

    box.ok("PATCH", "users/disabled-user", {"disabled": True})

    assert before == {200}
    assert box.statuses(made["key"]) <= {401, 403}


def test_an_overridden_model_changes_in_all_workers(box: Box) -> None:
    made = box.ok("POST", "keys", {"name": "models"})
    row = box.ok("PATCH", "models/mock/large", {"enabled": False})
    disabled = box.statuses(made["key"], "mock/large")
    box.ok("DELETE", "models/mock/large")

    assert (row["file"], row["override"]) == ({}, {"enabled": False})
    assert disabled == {404}
    assert box.statuses(made["key"], "mock/large") == {200}


def test_a_budget_needs_counts_that_workers_share(box: Box) -> None:
    answer = box.admin.post("/admin/users", json={"id": "spender", "budget": {"usd": 1}})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "budget")
    assert "`state: redis://...`" in answer.text
    assert "needs a shared `state`" in CliRunner().invoke(
        main, ["users", "create", "spender", "--budget", "1", "--config", str(box.config)]
    ).output.replace("\n", " ")


def test_a_model_is_added_with_its_price(single: Box) -> None:
    made = single.ok("POST", "keys", {"name": "added"})
    price = {"input": 1000, "output": 1000}
    row = single.ok("POST", "models", {"id": "mock/added", "price": price, "tier": "high"})
    call = single.chat(made["key"], "mock/added")
    listed = {each["id"]: each for each in single.ok("GET", "models")["data"]}
    shown = single.shell("models")
    single.ok("DELETE", "models/mock/added")

    used = call.json()["usage"]
    assert (row["file"], row["origins"]["price"], row["origins"]["kind"]) == (None, "override", "default")
    assert float(call.headers["x-router-cost-usd"]) == pytest.approx(used["total_tokens"] / 1000)
    assert list(listed) == ["mock/small", "mock/large", "mock/added"]
    assert "mock/added" in shown
    assert single.statuses(made["key"], "mock/added") == {404}
    assert single.admin.get("/admin/models/mock/added").status_code == 404
    answer = single.admin.post("/admin/models", json={"id": "mock/x", "prise": 1})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prise")


def test_the_openai_sdk_reads_usage_and_costs(single: Box) -> None:
    made = single.ok("POST", "keys", {"name": "sdk"})
    assert single.chat(made["key"]).status_code == 200
    url = f"{single.process.url}/v1"

    with openai.OpenAI(base_url=url, api_key=made["key"], admin_api_key=TOKEN, max_retries=0) as client:
        usage = client.admin.organization.usage
        completions = usage.completions(start_time=1_700_000_000, group_by=["model", "api_key_id"], limit=2)
        costs = usage.costs(start_time=1_700_000_000, group_by=["line_item"], limit=180)

    assert (len(completions.data), completions.has_more) == (2, True)
    assert (len(costs.data), costs.has_more) == (180, True)
    assert completions.next_page is not None


def own(box: Box, credential: str, path: str, **query: Any) -> Any:
    """Return what a caller sees of itself."""
    headers = {"authorization": f"Bearer {credential}"}
    answer = httpx.get(f"{box.process.url}/v1/{path}", params=query, headers=headers, trust_env=False, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_calls_are_recorded_for_their_caller(single: Box) -> None:
    single.ok("POST", "users", {"id": "recorded", "budget": {"usd": 1}})
    made = single.ok("POST", "keys", {"name": "n", "user": "recorded"})
    other = single.ok("POST", "keys", {"name": "other"})
    calls = [single.chat(made["key"], "tier/low") for _ in range(3)]
    failed = single.chat(made["key"], "mock/none")
    used = [call.json()["usage"] for call in calls]
    nusd = sum(each["prompt_tokens"] * 1_000 + each["completion_tokens"] * 2_000 for each in used)

    until(lambda: len(single.ok("GET", "requests?user=recorded")["data"]) == 4)
    [row] = single.ok("GET", "usage?user=recorded&provider=mock&group_by=key,user,model,route")["data"]
    records = [record for record in single.ok("GET", "requests?user=recorded")["data"] if record["status"] == 200]
    shown = single.ok("GET", f"requests/{records[0]['id']}")
    [budget] = [each for each in json.loads(single.shell("budgets", "--json"))["data"] if each["id"] == "recorded"]
    printed = json.loads(single.shell("usage", "--user", "recorded", "--json"))["data"]

    assert failed.status_code == 404
    assert row == {
        **row,
        "key": made["id"],
        "user": "recorded",
        "model": "small",
        "route": "tier/low",
        "requests": 3,
        "input_tokens": sum(each["prompt_tokens"] for each in used),
        "output_tokens": sum(each["completion_tokens"] for each in used),
        "cost_usd": nusd / 1e9,
    }
    assert {record["id"] for record in records} == {call.headers["x-router-id"] for call in calls}
    assert sum(record["cost_usd"] for record in records) == pytest.approx(nusd / 1e9, abs=1e-12)
    assert {(record["outcome"], record["model"], record["cost_status"]) for record in records} == {
        ("ok", "tier/low", "exact")
    }
    assert [(attempt["provider"], attempt["model"]) for attempt in shown["attempts"]] == [("mock", "small")]
    assert shown["decision"]["route"] == "tier/low"
    assert (budget["usd"], budget["spent_usd"]) == (1.0, nusd / 1e9)
    assert printed[0]["cost_usd"] == nusd / 1e9
    assert own(single, made["key"], "usage")["data"][0]["cost_usd"] == nusd / 1e9
    assert own(single, other["key"], "usage")["data"][0]["requests"] == 0
    assert own(single, other["key"], "usage", key=made["id"])["data"] == []
    costs = own(single, other["key"], "organization/costs", start_time=1_700_000_000, limit=1)
    assert [bucket["results"] for bucket in costs["data"]] == [[]]


def test_a_recorded_call_is_explained(single: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    made = single.ok("POST", "keys", {"name": "explained"})
    id = single.chat(made["key"], "auto").headers["x-router-id"]
    until(lambda: single.admin.get(f"/admin/requests/{id}").status_code == 200)
    monkeypatch.setenv("SIGNALBOX_ADMIN_TOKEN", TOKEN)

    of_store = json.loads(single.shell("explain", id, "--json"))
    of_service = json.loads(single.shell("explain", id, "--json", "--url", single.process.url))
    text = single.shell("explain", id)

    assert of_store == of_service == single.ok("GET", f"requests/{id}")
    assert of_store["decision"]["profile"]["task"] == "chat"
    assert "words" not in of_store["decision"]["profile"]
    assert "auto -> mock/small" in text
    assert "There is no request" in single.refused("explain", "req_none", "--url", single.process.url, code=1)
    assert "There is no such call" in single.refused("explain", "req_none", code=2)


def test_the_rejections_of_a_call_without_a_possible_target_are_explained(single: Box) -> None:
    made = single.ok("POST", "keys", {"name": "rejected"})
    answer = single.chat(made["key"], "auto", router={"exclude": ["mock/small"]})
    id = answer.headers["x-router-id"]
    until(lambda: single.admin.get(f"/admin/requests/{id}").status_code == 200)

    text = single.shell("explain", id)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "no_candidate_available")
    assert "excluded by router.exclude" in text
    assert single.ok("GET", f"requests/{id}")["decision"]["chosen"] is None


def test_no_output_contains_a_key_or_a_secret(single: Box) -> None:
    made = single.ok("POST", "keys", {"name": "canary"})
    single.chat(made["key"])

    paths = (
        "keys",
        f"keys/{made['id']}",
        "users",
        "teams",
        "audit",
        "usage",
        "requests",
        "budgets",
        "models",
        "config",
    )
    texts = [single.admin.get(f"/admin/{path}").text for path in paths]
    texts += [single.shell("keys", "list", "--json"), single.shell("usage"), single.shell("budgets")]
    texts.append(single.process.log.read_text())

    assert [text for text in texts if made["key"] in text or TOKEN in text or PEPPER in text] == []


def test_commands_exit_with_2_for_invalid_input(single: Box) -> None:
    single.shell("keys", "show", "key_none", code=2)
    single.shell("users", "create", "a b", code=2)
    single.shell("keys", "create", "--name", "x", "--user", "a b", code=2)
    single.shell("usage", "--group-by", "nothing", code=2)


def test_every_command_works_from_the_shell(single: Box) -> None:
    single.shell("teams", "create", "blue", "--model", "mock/*", "--budget", "20usd/month")
    single.shell("users", "create", "carol", "--team", "blue", "--role", "auditor")
    key = single.shell("keys", "create", "--name", "c", "--user", "carol", "--budget", "1/day:soft", "--json")
    id = json.loads(key)["id"]
    updated = json.loads(single.shell("keys", "update", id, "--rpm", "7", "--clear", "budget", "--json"))
    single.shell("users", "disable", "carol")
    single.shell("users", "enable", "carol")
    budgets = json.loads(single.shell("budgets", "--json"))["data"]

    assert (updated["limits"]["rpm"], updated["budget"]) == (7, None)
    assert [row["usd"] for row in budgets if row["id"] == "blue"] == [20.0]
    single.shell("teams", "delete", "blue", code=2)
    single.shell("users", "delete", "carol")
    single.shell("teams", "delete", "blue")
    assert id not in single.shell("keys", "list")


# Without a working store


PATHS = ["keys", "keys/x", "users", "teams", "usage", "requests", "requests/x", "audit"]


def without_store(folder: Path, store: str) -> dict[str, Any]:
    return {
        "store": store,
        "data_dir": str(folder / "data"),
        "auth": {"admin_token": TOKEN, "pepper": PEPPER},
        "providers": {"mock": {"dialect": "mock"}},
        "models": [{"id": "mock/small"}],
    }


def statuses(running: Running, http: httpx.Client) -> dict[str, httpx.Response]:
    """Return the answers of everything that uses the store."""
    headers = {"authorization": f"Bearer {TOKEN}"}
    answers = {path: http.get(f"{running.url}/admin/{path}", headers=headers) for path in PATHS}
    answers["POST"] = http.post(f"{running.url}/admin/users", headers=headers, json={"id": "ann"})
    answers["own"] = http.get(f"{running.url}/v1/usage", headers=headers)
    costs = f"{running.url}/v1/organization/costs"
    return {**answers, "costs": http.get(costs, headers=headers, params={"start_time": 1_700_000_000})}


def test_a_store_that_does_not_answer_is_a_503(tmp_path: Path, http: httpx.Client) -> None:
    broken = tmp_path / "folder.db"
    broken.mkdir()
    with signalbox(without_store(tmp_path, f"sqlite:///{broken}"), tmp_path) as running:
        answers = statuses(running, http)
        chat = http.post(f"{running.url}/v1/chat/completions", json={"model": "mock/small", "messages": HELLO})
    shell = CliRunner().invoke(main, ["users", "list", "--config", str(running.config)])

    assert {(answer.status_code, answer.json()["error"]["code"]) for answer in answers.values()} == {
        (503, "store_unavailable")
    }
    assert all("retry-after" in answer.headers for answer in answers.values())
    assert chat.status_code == 200
    assert (shell.exit_code, "is unavailable" in shell.output) == (1, True)


def test_without_a_store_the_remedy_is_named(tmp_path: Path, http: httpx.Client) -> None:
    with signalbox(without_store(tmp_path, "none"), tmp_path) as running:
        answers = statuses(running, http)
    shell = CliRunner().invoke(main, ["users", "list", "--config", str(running.config)])

    assert {answer.status_code for answer in answers.values()} == {400}
    assert all("set `store` to `sqlite`" in answer.text for answer in answers.values())
    assert shell.exit_code == 2
