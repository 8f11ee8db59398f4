"""What an operator is shown of keys that are missing or rejected: by the client's answer, log, metrics and `/admin`."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from proxy.settle.log import logging_to
from tests.support.servers import Running, recording_upstream, signalbox
from tests.support.waiting import PATIENCE, until

CHAT = "/v1/chat/completions"
ADMIN = {"authorization": "Bearer admin-token"}
HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}
AZURE = {"base_url": "https://azure.example/openai/v1", "keys": [{"value": "${AZURE_KEY}"}]}
BASE = {"auth": {"admin_token": "admin-token"}}
STAND_IN = {
    **BASE,
    "mock_when_no_keys": True,
    "providers": {"azure": AZURE},
    "models": [{"id": "azure/gpt-4o", "tier": "low", "price": {"input": 1, "output": 2}}],
}


class Box:
    """A running service, a client and what it has logged."""

    def __init__(self, running: Running, http: httpx.Client, log: io.StringIO) -> None:
        self.running = running
        self.http = http
        self._log = log

    def chat(self, model: str, **more: Any) -> httpx.Response:
        return self.http.post(CHAT, json={"model": model, **HELLO, **more})

    def samples(self, name: str) -> dict[tuple[str, ...], float]:
        """The values of one metric, by the values of their labels in alphabetical order of the labels."""
        return {
            tuple(value for _, value in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.http.get("/metrics").text)
            for sample in family.samples
            if sample.name == name
        }

    def line(self, **wanted: Any) -> dict[str, Any]:
        """The log line with these members."""

        def found() -> list[dict[str, Any]]:
            lines = [json.loads(line) for line in self._log.getvalue().splitlines()]
            return [line for line in lines if line.items() >= wanted.items()]

        until(lambda: bool(found()))
        return found()[-1]


@contextmanager
def serving(config: dict[str, Any], folder: Path, environ: dict[str, str] | None = None) -> Iterator[Box]:
    log = io.StringIO()
    with (
        logging_to(log),
        signalbox(config, folder, environ) as running,
        httpx.Client(base_url=running.url, trust_env=False, timeout=PATIENCE) as http,
    ):
        yield Box(running, http, log)


def upstream(url: str, *models: str) -> dict[str, Any]:
    return {
        **BASE,
        "providers": {"up": {"base_url": url, "keys": [{"value": "${UP_KEY}"}]}},
        "models": [{"id": f"up/{model}", "tier": "low"} for model in models],
    }


# Stand-ins


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["azure/gpt-4o", "gpt-4o", "tier/low", "auto"])
def test_an_answer_of_a_stand_in_is_marked_everywhere(tmp_path: Path, model: str, stream: bool) -> None:
    with serving(STAND_IN, tmp_path) as box:
        answer = box.chat(model, stream=stream)
        line = box.line(event="call")
        requests, attempts, tokens = (
            box.samples(f"signalbox_{name}_total") for name in ("requests", "attempts", "tokens")
        )

    assert (answer.status_code, answer.headers["x-router-mock"]) == (200, "1")
    assert "[MOCK]" in answer.text
    assert (line["provider"], [each["provider"] for each in line["attempts"]]) == ("mock", ["mock"])
    assert {labels[1] for labels, value in requests.items() if value} == {"mock"}
    assert {labels[2] for labels in attempts} == {"mock"}
    assert {labels[2] for labels in tokens} == {"mock"}


def test_a_models_list_marks_stand_ins(tmp_path: Path) -> None:
    with serving(STAND_IN, tmp_path) as box:
        rows = {row["id"]: row for row in box.http.get("/v1/models").json()["data"]}
        [provider] = box.http.get("/admin/providers", headers=ADMIN).json()["data"]

    assert rows["azure/gpt-4o"]["mock"] is True
    assert (provider["status"], provider["reason"]) == ("stand_in", "no key is set (AZURE_KEY)")


def test_a_mock_that_is_configured_is_no_stand_in(tmp_path: Path) -> None:
    config = {**BASE, "providers": {"fake": {"dialect": "mock"}}, "models": [{"id": "fake/x"}]}

    with serving(config, tmp_path) as box:
        answer = box.chat("fake/x")
        line = box.line(event="call")

    assert "x-router-mock" not in answer.headers
    assert line["provider"] == "fake"


def test_without_stand_ins_a_missing_key_is_a_named_error(tmp_path: Path) -> None:
    with serving({**STAND_IN, "mock_when_no_keys": False}, tmp_path, {"AZUER_KEY": "x" * 20}) as box:
        direct, tier = box.chat("azure/gpt-4o"), box.chat("tier/low")
        usable = box.samples("signalbox_provider_usable")
        [provider] = box.http.get("/admin/providers", headers=ADMIN).json()["data"]

    assert (direct.status_code, tier.status_code) == (404, 503)
    assert usable == {("azure",): 0.0}
    assert "AZURE_KEY" in direct.text
    assert "AZURE_KEY" in tier.text
    assert (provider["status"], provider["reason"]) == ("left_out", "no key is set (AZURE_KEY)")


# Metrics that begin at 0


def rose(before: dict[tuple[str, ...], float], after: dict[tuple[str, ...], float]) -> set[tuple[str, ...]]:
    """The series in which Prometheus sees an increase: those that were there before."""
    return {labels for labels, value in after.items() if labels in before and value > before[labels]}


@pytest.mark.parametrize(
    ("status", "outcome", "told"),
    [(401, "key_rejected", "502"), (500, "server_error", "502"), (429, "rate_limited", "429")],
)
def test_the_first_failure_is_an_increase(tmp_path: Path, status: int, outcome: str, told: str) -> None:
    model = f"status-{status}"
    with recording_upstream() as (url, _):
        config = {**upstream(url, model), "resilience": {"retry": {"attempts": 1}}}
        with serving(config, tmp_path, {"UP_KEY": "sk-up"}) as box:
            attempts, requests = box.samples("signalbox_attempts_total"), box.samples("signalbox_requests_total")
            box.chat("tier/low")

            assert (model, outcome, "up") in rose(attempts, box.samples("signalbox_attempts_total"))
            assert (model, "up", "tier/low", told) in rose(requests, box.samples("signalbox_requests_total"))


def test_a_reload_creates_the_series_of_what_is_new(tmp_path: Path) -> None:
    with recording_upstream() as (url, _), serving(upstream(url, "m"), tmp_path, {"UP_KEY": "sk-up"}) as box:
        box.running.config.write_text(yaml.safe_dump(upstream(url, "m", "new")))
        box.running.service.reload()

        until(lambda: ("new", "key_rejected", "up") in box.samples("signalbox_attempts_total"))
        assert box.samples("signalbox_attempts_total")["new", "key_rejected", "up"] == 0.0


def test_a_removed_provider_shows_no_state(tmp_path: Path) -> None:
    def breakers() -> list[str]:
        rows: list[dict[str, str]] = box.http.get("/admin/breakers", headers=ADMIN).json()["data"]
        return [row["provider"] for row in rows]

    with recording_upstream() as (url, _), serving(upstream(url, "status-500"), tmp_path, {"UP_KEY": "sk-up"}) as box:
        box.chat("up/status-500")
        before, states = breakers(), box.samples("signalbox_breaker_state")
        box.running.config.write_text(yaml.safe_dump({**BASE, "providers": {"mock": {"dialect": "mock"}}}))
        box.running.service.reload()
        until(lambda: ("mock",) in box.samples("signalbox_provider_usable"))

        assert (before, len(states)) == (["up"], 1)
        assert (breakers(), box.samples("signalbox_breaker_state")) == ([], {})
        assert ("up",) not in box.samples("signalbox_provider_usable")


def test_a_revoked_key_shows_everywhere(tmp_path: Path) -> None:
    model = "status-401-echo"
    with recording_upstream() as (url, _), serving(upstream(url, model), tmp_path, {"UP_KEY": "sk-up-key"}) as box:
        before = box.samples("signalbox_keys_in_cooldown")
        answer = box.chat(f"up/{model}")
        line = box.line(event="call")
        after = box.samples("signalbox_keys_in_cooldown")
        [provider] = box.http.get("/admin/providers", headers=ADMIN).json()["data"]

    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_error")
    assert "sk-up-key" not in answer.text
    assert (before["up", "key_rejected"], after["up", "key_rejected"]) == (0.0, 1.0)
    assert [each["outcome"] for each in line["attempts"]] == ["key_rejected"]
    assert provider["health"]["status"] != "healthy"
    assert provider["keys"][0]["rests"][0]["reason"] == "key_rejected"


# Routing


@pytest.mark.parametrize("model", ["tier/low", "auto", "scenario/s"])
def test_equal_models_of_two_providers_share_the_calls(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.routing.rank.SLOWER_SECONDS", PATIENCE)  # a pause of the machine makes neither slower
    with recording_upstream() as (east, one), recording_upstream() as (west, two):
        config = {
            "providers": {"east": {"base_url": east}, "west": {"base_url": west}},
            "models": [{"id": "east/m", "tier": "low"}, {"id": "west/m", "tier": "low"}],
            "routing": {"scenarios": {"s": "tier/low"}},
        }
        with serving(config, tmp_path) as box:
            statuses = {box.chat(model).status_code for _ in range(10)}

    assert statuses == {200}
    assert (len(one.requests), len(two.requests)) == (5, 5)


def test_the_default_answers_for_its_own_kind_only(tmp_path: Path) -> None:
    with recording_upstream() as (url, up):
        config = {**upstream(url, "m"), "routing": {"default": "up/m"}}
        with serving(config, tmp_path, {"UP_KEY": "sk-up-key"}) as box:
            chat = box.chat("unknown")
            embeddings = box.http.post("/v1/embeddings", json={"model": "unknown", "input": "x"})

    assert (chat.status_code, chat.headers["x-router-model"]) == (200, "m")
    assert (embeddings.status_code, embeddings.json()["error"]["code"]) == (404, "model_not_found")
    assert len(up.requests) == 1


def test_a_single_model_is_shown_by_its_bare_id(tmp_path: Path) -> None:
    with recording_upstream() as (url, _), serving(upstream(url, "m"), tmp_path, {"UP_KEY": "sk-up-key"}) as box:
        bare, full = box.http.get("/v1/models/m").json(), box.http.get("/v1/models/up/m").json()
        missing = box.http.get("/v1/models/no")

    assert bare == {**full, "id": "m"}
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
