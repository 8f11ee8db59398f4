"""What an operator sees: metrics with bounded labels, one access line a call without content, and honest times."""

from __future__ import annotations

import contextlib
import io
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.app import Parts
from proxy.settle.log import logging_to
from tests.support.fakes import FakeClock
from tests.support.servers import IDLE, RecordingUpstream, Running, recording_upstream, signalbox, signalbox_process
from tests.support.waiting import PATIENCE, until

CHAT = "/v1/chat/completions"
CANARY = "canary-prompt-41c7"
HELLO = [{"role": "system", "content": f"{CANARY}-system"}, {"role": "user", "content": f"{CANARY} Hello"}]
PRICE = {"input": 1, "output": 2}
LABELS = {
    "signalbox_requests": {"route", "provider", "model", "status"},
    "signalbox_attempts": {"provider", "model", "outcome"},
    "signalbox_request_duration_seconds": set(),
    "signalbox_overhead_seconds": set(),
    "signalbox_time_to_first_token_seconds": set(),
    "signalbox_tokens": {"provider", "model", "kind"},
    "signalbox_cost_usd": {"provider", "model"},
    "signalbox_inflight_requests": set(),
    "signalbox_breaker_state": {"provider", "model", "key"},
    "signalbox_queue_depth": set(),
    "signalbox_retries_refused": set(),
    "signalbox_config_reload_success": set(),
    "signalbox_keys_in_cooldown": {"provider", "reason"},
    "signalbox_event_loop_lag_seconds": set(),
    "signalbox_provider_usable": {"provider"},
    "signalbox_usage_clamped": {"provider", "model"},
    "signalbox_budget_refusals": {"scope"},
    "signalbox_llm_classifications": {"result"},
    "signalbox_judgements": {"kind", "result"},
    "signalbox_budget_exceeded": {"scope"},
}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass(frozen=True)
class Box:
    """Signalbox, its upstream and a client."""

    running: Running
    upstream: RecordingUpstream
    http: httpx.Client
    before: Samples = field(default_factory=dict)

    def chat(self, model: str, **more: Any) -> httpx.Response:
        """One call."""
        return self.http.post(CHAT, json={"model": model, "messages": HELLO, **more})

    def settled(self) -> str:
        """The metrics when every call has been settled, which is a moment after its answer's end."""
        return until(lambda: text if IDLE in (text := self.http.get("/metrics").text) else "")

    def samples(self) -> Samples:
        """Every sample of the metrics, by name and labels."""
        families = text_string_to_metric_families(self.settled())
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        """By how much a sample has grown; 0 if it is not there."""
        key = (name, frozenset(labels.items()))
        return self.samples().get(key, 0.0) - self.before.get(key, 0.0)

    def lines(self, log: io.StringIO) -> list[dict[str, Any]]:
        """The access lines of a log that is written no more."""
        parsed = [json.loads(line) for line in log.getvalue().splitlines()]
        return [line for line in parsed if line["event"] == "call"]


def config(upstream: str) -> dict[str, Any]:
    return {
        "auth": {"admin_token": "the-admin-token"},
        "providers": {
            "up": {"base_url": upstream, "keys": [{"id": "main", "value": "the-provider-key"}]},
            "open": {"base_url": upstream, "any_model": True},
            "made": {"dialect": "mock", "any_model": True},
        },
        "models": [
            {"id": "up/one", "tier": "low", "price": PRICE},
            {"id": "up/two"},
            {"id": "up/status-500", "tier": "high"},
        ],
        "routing": {"aliases": {"named": "up/one"}, "scenarios": {"retry": ["up/status-500", "up/one"]}},
        "resilience": {
            "retry": {"backoff": "1ms", "max_backoff": "1ms"},
            "breaker": {"consecutive": 2, "window_failures": 1000},
        },
    }


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with (
        recording_upstream() as (url, upstream),
        signalbox(config(url), tmp_path_factory.mktemp("observed")) as running,
        httpx.Client(base_url=running.url, trust_env=False, timeout=PATIENCE) as http,
    ):
        yield Box(running, upstream, http)


@pytest.fixture
def box(shared: Box) -> Box:
    """What is counted begins with the test."""
    shared.http.post("/admin/breakers/reset", headers={"authorization": "Bearer the-admin-token"})
    return replace(shared, before=shared.samples())


@contextlib.contextmanager
def logged(box: Box) -> Iterator[io.StringIO]:
    """What is logged until every call has been settled."""
    log = io.StringIO()
    with logging_to(log, patience=PATIENCE):
        yield log
        box.settled()


# Metrics


def test_metrics_have_the_names_and_labels_of_the_contract(box: Box) -> None:
    box.chat("up/one", stream=True)
    box.chat("up/status-500")

    families = {family.name: family for family in text_string_to_metric_families(box.settled()) if family.samples}

    assert {name for name in families if name.startswith("signalbox_")} == set(LABELS)
    for name, labels in LABELS.items():
        assert families[name].documentation
        assert {label for sample in families[name].samples for label in sample.labels} - {"le"} == labels


def test_metrics_are_prometheus_text(box: Box) -> None:
    answer = box.http.get("/metrics")

    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "_created" not in answer.text


def test_a_call_is_counted_with_its_tokens_and_cost(box: Box) -> None:
    usage = box.chat("named").json()["usage"]

    labels = {"provider": "up", "model": "one"}
    assert box.value("signalbox_requests_total", route="up/one", status="200", **labels) == 1
    assert box.value("signalbox_attempts_total", outcome="ok", **labels) == 1
    assert box.value("signalbox_tokens_total", kind="input", **labels) == usage["prompt_tokens"]
    assert box.value("signalbox_tokens_total", kind="output", **labels) == usage["completion_tokens"]
    cost = (usage["prompt_tokens"] * 1 + usage["completion_tokens"] * 2) / 1e6
    assert box.value("signalbox_cost_usd_total", **labels) == pytest.approx(cost)
    assert box.value("signalbox_request_duration_seconds_count") == 1
    assert box.value("signalbox_overhead_seconds_count") == 1
    assert box.value("signalbox_time_to_first_token_seconds_count") == 0


def test_a_stream_is_counted_with_tokens_that_only_we_asked_for(box: Box) -> None:
    box.chat("up/one", stream=True)

    assert box.value("signalbox_tokens_total", kind="output", provider="up", model="one") > 0
    assert box.value("signalbox_cost_usd_total", provider="up", model="one") > 0
    assert box.value("signalbox_time_to_first_token_seconds_count") == 1


def test_every_attempt_is_counted_and_the_call_once(box: Box) -> None:
    answer = box.chat("scenario/retry")

    assert answer.status_code == 200
    assert answer.headers["x-router-attempts"] == "3"
    assert box.value("signalbox_attempts_total", provider="up", model="status-500", outcome="server_error") == 2
    assert box.value("signalbox_attempts_total", provider="up", model="one", outcome="ok") == 1
    assert box.value("signalbox_requests_total", route="scenario/retry", provider="up", model="one", status="200") == 1


def test_a_call_that_never_got_anywhere_is_counted_under_other(box: Box) -> None:
    box.http.post(CHAT, content=b"nonsense")
    box.chat("nothing")

    other = {"route": "other", "provider": "other", "model": "other"}
    assert box.value("signalbox_requests_total", status="400", **other) == 1
    assert box.value("signalbox_requests_total", status="404", **other) == 1


def test_an_open_breaker_shows(box: Box) -> None:
    box.chat("up/status-500")
    box.chat("up/status-500")

    assert box.value("signalbox_breaker_state", provider="up", model="status-500", key="main") == 2


def test_calls_in_flight_show_while_they_last(box: Box) -> None:
    leave = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=box.running.url, trust_env=False, timeout=PATIENCE) as http:
            body = {"model": "made/x:timeout", "messages": HELLO, "stream": True}
            request = http.build_request("POST", CHAT, json=body, timeout=0.5)
            while not leave.is_set():
                with contextlib.suppress(httpx.TimeoutException):
                    http.send(request)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        until(lambda: IDLE.replace("0.0", "1.0") in box.http.get("/metrics").text)
    finally:
        leave.set()
        thread.join()

    labels = {"route": "other", "provider": "made", "model": "other", "status": "499"}
    until(lambda: box.value("signalbox_requests_total", **labels) >= 1)


@pytest.mark.anyio
async def test_no_client_can_make_series(box: Box) -> None:
    def names(number: int) -> list[str]:
        found = [f"made/random-{number}", f"made/vendor-{number}/x", f"unknown-{number}", f"tier/{number}"]
        if number < 20:
            found += [f"made/x-{number}:bad_json", f"made/x-{number}:error", f"up/one-{number}"]
        return found

    async def ask(http: httpx.AsyncClient, model: str, number: int) -> None:
        await http.post(
            CHAT,
            json={"model": model, "messages": HELLO, "stream": number % 2 == 0, "user": model},
            headers={"x-router-client-id": model, "x-request-id": model, "user-agent": model},
        )

    async with httpx.AsyncClient(base_url=box.running.url, trust_env=False, timeout=PATIENCE) as http:
        for model in [*names(0), *names(1)]:
            await ask(http, model, 0)
            await ask(http, model, 1)
        before = box.samples()
        calls = _calls(before)
        for start in range(2, 242, 20):
            async with anyio.create_task_group() as group:
                for number in range(start, start + 20):
                    for model in names(number):
                        group.start_soon(ask, http, model, number)

    after = box.samples()
    assert set(after) == set(before)
    assert _calls(after) - calls == 240 * 4 + 18 * 3


def _calls(samples: Samples) -> float:
    return sum(value for (name, _), value in samples.items() if name == "signalbox_requests_total")


# The access log


def test_a_call_is_one_line_without_content(box: Box) -> None:
    with logged(box) as log:
        answer = box.chat("named", router={"client_id": "shop"}, user="somebody", tools=[])

    [line] = box.lines(log)
    assert answer.status_code == 200
    assert {name: line[name] for name in ("level", "client_id", "model", "route", "provider", "upstream_model")} == {
        "level": "info", "client_id": "shop", "model": "named", "route": "up/one", "provider": "up",
        "upstream_model": "one",
    }  # fmt: skip
    assert (line["status"], line["outcome"], line["code"], line["stream"]) == (200, "ok", None, False)
    assert line["id"] == line["request_id"] == answer.headers["x-router-id"]
    assert [(each["model"], each["key"], each["outcome"]) for each in line["attempts"]] == [("one", "main", "ok")]
    assert line["input_tokens"] == answer.json()["usage"]["prompt_tokens"]
    assert line["cost_usd"] == pytest.approx(float(answer.headers["x-router-cost-usd"]))
    assert line["time"].endswith("+00:00")
    assert 0 <= line["overhead_ms"] <= line["ms"] + 0.1


@pytest.mark.parametrize(
    ("model", "stream", "status", "outcome", "code"),
    [
        ("up/one", True, 200, "ok", None),
        ("open/status-400", False, 400, "error", "said_so"),
        ("open/status-500", False, 502, "error", "upstream_error"),
        ("nothing", False, 404, "error", "model_not_found"),
        ("made/x:cut", True, 200, "partial", "upstream_error"),
    ],
)
def test_every_end_is_one_line(box: Box, model: str, stream: bool, status: int, outcome: str, code: str | None) -> None:
    with logged(box) as log:
        box.chat(model, stream=stream)

    [line] = box.lines(log)
    assert (line["status"], line["outcome"], line["code"]) == (status, outcome, code)


def test_a_broken_body_is_one_line_too(box: Box) -> None:
    with logged(box) as log:
        box.http.post(CHAT, content=CANARY.encode())

    [line] = box.lines(log)
    assert (line["status"], line["outcome"], line["model"]) == (400, "error", None)


def test_no_prompt_and_no_answer_is_in_any_log(box: Box) -> None:
    tool = {"type": "function", "function": {"name": "f", "description": CANARY, "parameters": {}}}

    with logged(box) as log:
        for model in (
            "up/one",
            "made/x",
            "made/x:bad_json",
            "made/x:cut",
            "open/status-400",
            "auto",
            CANARY[:0] + "no",
        ):
            for stream in (False, True):
                box.chat(model, stream=stream, tools=[tool], stop=[CANARY], user=CANARY, metadata={"a": CANARY})
        box.http.post(CHAT, content=f'{{"model": "up/one", "messages": "{CANARY}"}}'.encode())
        box.http.post(CHAT, content=f'{{"model": "up/one", "{CANARY}'.encode())
        box.http.post("/v1/route", json={"model": "auto", "messages": HELLO})

    assert len(box.lines(log)) == 16
    assert "canary" not in log.getvalue()
    assert "You said" not in log.getvalue()


def test_a_hostile_name_stays_on_its_line_and_short(box: Box) -> None:
    with logged(box) as log:
        box.chat('x\n{"event": "call"}\u2028' + "y" * 10_000)

    [line] = box.lines(log)
    assert len(line["model"]) <= 256


def test_the_clients_request_id_is_in_the_line_and_in_the_answer(box: Box) -> None:
    with logged(box) as log:
        answer = box.http.post(CHAT, json={"model": "up/one", "messages": HELLO}, headers={"x-request-id": "mine-1"})

    [line] = box.lines(log)
    assert answer.headers["x-request-id"] == line["request_id"] == "mine-1"
    assert answer.headers["x-router-id"] == line["id"] != "mine-1"


def test_ids_are_unique(box: Box) -> None:
    ids = [box.chat("made/x").headers["x-router-id"] for _ in range(20)]

    assert len(set(ids)) == 20


def test_the_access_log_can_be_switched_off(tmp_path: Path) -> None:
    settings = {"providers": {"mock": {"dialect": "mock"}}, "models": [{"id": "mock/x"}], "logs": {"access": False}}

    with (
        signalbox(settings, tmp_path) as running,
        httpx.Client(base_url=running.url, trust_env=False, timeout=PATIENCE) as http,
    ):
        box = Box(running, RecordingUpstream(), http)
        with logged(box) as log:
            answer = box.chat("mock/x")

    assert answer.status_code == 200
    assert '"call"' not in log.getvalue()


# Times


LATENCY, PIECES = 4.0, 0.05  # seconds that the mock takes, and that lie between its pieces


class UpstreamTime(FakeClock):
    """Time that passes only while the mock takes its time; whatever looks after the service meanwhile really sleeps."""

    async def sleep(self, seconds: float) -> None:
        if seconds in (LATENCY, PIECES):
            await super().sleep(seconds)
        else:
            await anyio.sleep(seconds)


@pytest.mark.parametrize(("stream", "until_content"), [(False, 4000), (True, 4050)])
def test_time_of_the_upstream_is_not_our_overhead(tmp_path: Path, stream: bool, until_content: int) -> None:
    settings = {"providers": {"mock": {"dialect": "mock", "latency": f"{LATENCY}s"}}, "models": [{"id": "mock/x"}]}

    with (
        signalbox(settings, tmp_path, parts=Parts(clock=UpstreamTime())) as running,
        httpx.Client(base_url=running.url, trust_env=False, timeout=PATIENCE) as http,
    ):
        box = Box(running, RecordingUpstream(), http)
        with logged(box) as log:
            answer = box.chat("mock/x", stream=stream)
        overhead, duration = (box.value(f"signalbox_{name}_seconds_sum") for name in ("overhead", "request_duration"))

    [line] = box.lines(log)
    assert int(answer.headers["openai-processing-ms"]) == until_content
    assert float(answer.headers["x-router-overhead-ms"]) == pytest.approx(0, abs=0.001)
    assert overhead == pytest.approx(0, abs=1e-6)
    assert line["overhead_ms"] == pytest.approx(0, abs=0.001)
    assert line["ttft_ms"] == pytest.approx(until_content)
    assert line["ms"] >= until_content
    assert duration == pytest.approx(line["ms"] / 1000)


def test_log_of_a_process_has_every_call_in_order(tmp_path: Path) -> None:
    settings = {"providers": {"made": {"dialect": "mock"}}, "models": [{"id": "made/x"}]}

    with (
        signalbox_process(settings, tmp_path) as process,
        httpx.Client(base_url=process.url, trust_env=False, timeout=PATIENCE) as http,
    ):
        body = {"model": "made/x", "messages": HELLO}
        ids = [http.post(CHAT, json=body).headers["x-router-id"] for _ in range(40)]
        process.popen.terminate()
        process.popen.wait(PATIENCE)
        lines = [json.loads(line) for line in process.log.read_text().splitlines()]

    assert [line["id"] for line in lines if line["event"] == "call"] == ids
    assert {line["outcome"] for line in lines if line["event"] == "call"} == {"ok"}
