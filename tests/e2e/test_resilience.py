"""Breakers, resting keys, retries, fallbacks, deadlines and reloads, as clients and upstreams see them.

Where time must go by, the clock is set forward; the upstream's log says who was asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support import upstreams
from tests.support.boxes import moved_by, patient_client
from tests.support.clocks import ServerClock
from tests.support.servers import Running, signalbox
from tests.support.upstreams import DONE, FINISH, ROLE, Script, Upstream, Wire, refuse, stream, words
from tests.support.waiting import PATIENCE, until

ADMIN = {"authorization": "Bearer admin"}
KEYS = [{"id": "one", "value": "sk-one-00000000"}, {"id": "two", "value": "sk-two-00000000"}]
ONCE = {"same_target": 0}
FAILING = refuse(500)


class Box:
    """Signalbox in front of one upstream, its clock, and the few questions that these tests ask."""

    def __init__(self, running: Running, http: httpx.Client, clock: ServerClock) -> None:
        self.url = running.url
        self.running = running
        self.clock = clock
        self.http = http

    def ask(self, model: str, *, stream: bool = False, **more: Any) -> httpx.Response:
        """One call, its answer read to the end."""
        return self.http.post(f"{self.url}/v1/chat/completions", json=chat(model, stream=stream, **more))

    def breakers(self) -> dict[str, str]:
        """The states that are worth a word, by provider, model and key."""
        rows = self.http.get(f"{self.url}/admin/breakers", headers=ADMIN).json()["data"]
        return {row["id"]: row["state"] for row in rows if row["state"] != "closed"}

    def cooldowns(self) -> list[tuple[str, str | None, str, float]]:
        """Key, model, reason and seconds of every key that rests."""
        rows = self.http.get(f"{self.url}/admin/providers", headers=ADMIN).json()["data"]
        return [
            (key["id"], rest["model"], rest["reason"], rest["seconds_left"])
            for row in rows
            for key in row["keys"]
            for rest in key["rests"]
        ]

    def reset(self, **which: str) -> int:
        """Close breakers; how many there were."""
        answer = self.http.post(f"{self.url}/admin/breakers/reset", headers=ADMIN, json=which)
        return int(answer.json()["reset"])

    def ready(self) -> dict[str, Any]:
        """What the readiness probe says."""
        found: dict[str, Any] = self.http.get(f"{self.url}/readyz").json()
        return found


def chat(model: str, *, stream: bool = False, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream, **more}


def configuration(url: str, models: list[str], **resilience: Any) -> dict[str, Any]:
    """A provider for each model, a scenario `all` of them in this order."""
    names = dict.fromkeys(model.partition("/")[0] for model in models)
    return {
        "store": "none",
        "auth": {"admin_token": "admin"},
        "providers": {name: {"base_url": url, "any_model": True} for name in names},
        "models": [{"id": model} for model in models],
        "routing": {"scenarios": {"all": models}},
        "resilience": {"probes": {"enabled": False}, **resilience},  # only calls ask anybody here
    }


@contextmanager
def boxed(folder: Path, config: dict[str, Any], clock: ServerClock | None = None) -> Iterator[Box]:
    """A running `Box`."""
    clock = clock or ServerClock()
    with (
        signalbox(config, folder, parts=moved_by(clock)) as running,
        patient_client(keeps_connections=False) as http,
    ):
        yield Box(running, http, clock)


def key_of(request: upstreams.Request) -> str:
    """The id of the key that a request came with."""
    return request.headers["authorization"].removeprefix("Bearer sk-").partition("-")[0]


# Breakers


def test_a_target_that_fails_in_a_row_gets_no_more_traffic(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", FAILING)

    with boxed(tmp_path, configuration(upstream.url, ["bad/a", "good/b"], retry=ONCE)) as box:
        answers = [box.ask("scenario/all") for _ in range(20)]
        breakers = box.breakers()

    assert [answer.status_code for answer in answers] == [200] * 20
    assert upstream.models.count("a") == 3
    assert upstream.models[6:] == ["b"] * 17
    assert breakers == {"bad/a#-": "open"}


def test_failures_that_are_not_in_a_row_open_it_too(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", *[FAILING, upstreams.whole] * 4, FAILING)

    with boxed(tmp_path, configuration(upstream.url, ["bad/a", "good/b"], retry=ONCE)) as box:
        for _ in range(20):
            box.ask("scenario/all")
        breakers = box.breakers()

    assert upstream.models.count("a") == 9
    assert breakers == {"bad/a#-": "open"}


def test_streams_that_break_count_as_failures(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", stream([ROLE, *words("half")], Wire.reset))

    with boxed(tmp_path, configuration(upstream.url, ["bad/a", "good/b"])) as box:
        answers = [box.ask("scenario/all", stream=True).text for _ in range(5)]

    assert ["half2" in answer for answer in answers] == [True] * 3 + [False] * 2
    assert upstream.models == ["a"] * 3 + ["b"] * 2


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422, 429, 401, 403])
def test_what_is_not_the_targets_fault_never_opens_a_breaker(upstream: Upstream, tmp_path: Path, status: int) -> None:
    upstream.script("a", refuse(status, headers={"retry-after": "0"}))

    with boxed(tmp_path, configuration(upstream.url, ["bad/a"])) as box:
        for _ in range(10):
            box.ask("bad/a")
            box.clock.pass_(3600)
        breakers = box.breakers()

    assert breakers == {}
    assert len(upstream.requests) == (40 if status == 429 else 10)  # which may be tried again at once, it says


@pytest.mark.parametrize("probes", [1, 3])
@pytest.mark.parametrize("streams", [True, False], ids=["stream", "plain"])
def test_half_open_admits_exactly_the_configured_probes(
    upstream: Upstream, tmp_path: Path, probes: int, *, streams: bool
) -> None:
    crowd = 16
    policy = {"consecutive": 1, "half_open": probes}
    good = upstreams.held([], [ROLE, *words("a"), FINISH, DONE])
    plain = upstreams.held_plain(json.dumps(upstreams.completion("a")).encode())
    upstream.script("a", FAILING, good if streams else plain)

    with (
        boxed(tmp_path, configuration(upstream.url, ["bad/a", "good/b"], retry=ONCE, breaker=policy)) as box,
        ThreadPoolExecutor(crowd) as pool,
    ):
        box.ask("scenario/all", stream=streams)
        box.clock.pass_(61)
        calls = [pool.submit(box.ask, "scenario/all", stream=streams) for _ in range(crowd)]
        arrived = [upstream.next() for _ in range(2 + crowd)][2:]
        state = box.breakers()
        for request in arrived:
            request.release()
        statuses = [call.result(PATIENCE).status_code for call in calls]
        after = box.breakers()
        upstream.script("a", upstreams.whole)
        last = box.ask("scenario/all", stream=streams)

    assert [request.model for request in arrived].count("a") == probes
    assert state == {"bad/a#-": "half-open"}
    assert statuses == [200] * crowd
    assert after == {}
    assert last.headers["x-router-provider"] == "bad"


def test_a_failed_probe_doubles_the_wait(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", FAILING)
    config = configuration(upstream.url, ["bad/a", "good/b"], retry=ONCE, breaker={"consecutive": 1})

    with boxed(tmp_path, config) as box:
        asked = []
        for seconds in (0, 61, 61, 61, 181, 61):  # open for 60 s, then 120 s, then 240 s
            box.clock.pass_(seconds)
            box.ask("scenario/all")
            asked.append(upstream.models.count("a"))

    assert asked == [1, 2, 2, 3, 3, 4]


def test_an_operator_may_close_a_breaker(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", FAILING, upstreams.whole)
    config = configuration(upstream.url, ["bad/a", "good/b"], retry=ONCE, breaker={"consecutive": 1})

    with boxed(tmp_path, config) as box:
        box.ask("scenario/all")
        before = box.ask("scenario/all").headers["x-router-provider"]
        others = box.reset(provider="good")
        count = box.reset(provider="bad", model="a")
        after = box.ask("scenario/all").headers["x-router-provider"]

    assert (before, others, count, after) == ("good", 0, 1, "bad")


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "plain"])
def test_the_last_target_left_is_always_asked(upstream: Upstream, tmp_path: Path, *, streams: bool) -> None:
    upstream.script("a", *[FAILING] * 6, upstreams.whole)

    with boxed(tmp_path, configuration(upstream.url, ["only/a"], retry=ONCE)) as box:
        statuses = [box.ask("only/a", stream=streams).status_code for _ in range(7)]

    assert statuses == [502] * 6 + [200]
    assert len(upstream.requests) == 7


def test_of_targets_that_all_fail_one_is_always_asked(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", FAILING)
    upstream.script("b", FAILING)
    config = configuration(upstream.url, ["one/a", "two/b"], retry=ONCE, breaker={"consecutive": 1})

    with boxed(tmp_path, config) as box:
        first = box.ask("scenario/all").status_code
        states = box.breakers()
        upstream.clear()
        later = [box.ask("scenario/all").status_code for _ in range(3)]

    assert first == 502
    assert set(states.values()) == {"open"}
    assert later == [200] * 3
    assert len(upstream.requests) == 3


# Keys


def keyed(url: str) -> dict[str, Any]:
    config = configuration(url, ["up/a", "up/b", "good/c"])
    config["providers"]["up"]["keys"] = KEYS
    config["resilience"] = {**config.get("resilience", {}), "queue": {"max_wait": "0s"}}
    return config


def test_a_rate_limit_rests_one_key_for_one_model(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", refuse(429, headers={"retry-after": "60"}), upstreams.whole)

    with boxed(tmp_path, keyed(upstream.url)) as box:
        first = box.ask("up/a")
        rests = box.cooldowns()
        for _ in range(4):
            box.ask("up/a")
        for _ in range(4):
            box.ask("up/b")
        breakers = box.breakers()
        box.clock.pass_(61)
        for _ in range(4):
            box.ask("up/a")

    limited, *others = [(request.model, key_of(request)) for request in upstream.requests]
    other = "two" if limited[1] == "one" else "one"
    assert (first.status_code, first.headers["x-router-attempts"]) == (200, "2")
    assert others[:5] == [("a", other)] * 5
    assert {key for _, key in others[5:9]} == {"one", "two"}
    assert {key for _, key in others[9:]} == {"one", "two"}
    assert breakers == {}
    assert [rest[:3] for rest in rests] == [(limited[1], "a", "rate_limited")]


def test_a_rejected_key_rests_for_all_models(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", refuse(401), upstreams.whole)

    with boxed(tmp_path, keyed(upstream.url)) as box:
        first = box.ask("up/a")
        rests = box.cooldowns()
        for model in ("up/a", "up/b") * 2:
            box.ask(model)

    rejected, *others = [key_of(request) for request in upstream.requests]
    assert first.status_code == 200
    assert set(others) == {"one", "two"} - {rejected}
    assert [rest[:3] for rest in rests] == [(rejected, None, "key_rejected")]


def test_when_all_keys_rest_the_next_target_answers(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", refuse(429, headers={"retry-after": "60"}))
    config = keyed(upstream.url)
    config["routing"]["scenarios"]["all"] = ["up/a", "good/c"]

    with boxed(tmp_path, config) as box:
        answers = [box.ask("scenario/all") for _ in range(4)]
        alone = box.ask("up/a")

    assert [answer.status_code for answer in answers] == [200] * 4
    assert upstream.models == ["a", "a", "c", "c", "c", "c"]
    assert alone.status_code == 429
    assert 0 < int(alone.headers["retry-after"]) <= 60
    assert alone.headers["retry-after-ms"].isdigit()


def test_a_pinned_key_is_the_only_one_used(upstream: Upstream, tmp_path: Path) -> None:
    with boxed(tmp_path, keyed(upstream.url)) as box:
        for _ in range(4):
            box.ask("up/a", router={"key_id": "two"})

    assert [key_of(request) for request in upstream.requests] == ["two"] * 4
    assert b"router" not in upstream.requests[0].body


HINTS: dict[str, tuple[dict[str, str], str, float]] = {
    "retry-after in seconds": ({"retry-after": "90"}, "", 90),
    "retry-after with a fraction": ({"retry-after": "90.5"}, "", 90.5),
    "retry-after-ms beats it": ({"retry-after": "1", "retry-after-ms": "90000"}, "", 90),
    "retry-after as a date": ({"retry-after": "{date}"}, "", 90),
    "retry-after as a date of the past": ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, "", 0),
    "the limit that is used up": (
        {
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": "1m30s",
            "x-ratelimit-remaining-tokens": "5",
            "x-ratelimit-reset-tokens": "6h",
        },
        "",
        90,
    ),
    "the epoch in milliseconds": ({"x-ratelimit-reset": "{epoch}000"}, "", 90),
    "the epoch in seconds": ({"x-ratelimit-reset": "{epoch}"}, "", 90),
    "the message": ({}, "Rate limit reached. Please try again in 1m30s.", 90),
    "the message in words": ({}, "Please retry after 90 seconds.", 90),
    "the message in milliseconds": ({}, "Please try again in 290ms.", 0.29),
    "an hour": ({"retry-after": "3600"}, "", 3600),
    "a year is not believed": ({"retry-after": "31536000"}, "", 24 * 3600),
    "garbage is passed over": ({"retry-after": "soon", "retry-after-ms": "-"}, "", 5),
    "nothing": ({}, "", 5),
}


@pytest.mark.parametrize(("headers", "message", "seconds"), HINTS.values(), ids=HINTS.keys())
def test_a_key_rests_as_long_as_the_provider_says(
    upstream: Upstream, tmp_path: Path, headers: dict[str, str], message: str, seconds: float
) -> None:
    clock = ServerClock()
    then = round(clock.time() + 90)
    date = format_datetime(datetime.fromtimestamp(then, UTC), usegmt=True)
    filled = {name: value.format(date=date, epoch=then) for name, value in headers.items()}
    upstream.script("a", refuse(429, message or "Slow down.", headers=filled))

    with boxed(tmp_path, keyed(upstream.url), clock) as box:
        answer = box.ask("up/a")
        rests = box.cooldowns()

    assert answer.status_code == 429
    assert [rest[3] for rest in rests] == ([pytest.approx(seconds, abs=1)] * 2 if seconds else [])


# Retries and fallbacks


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize(
    ("targets", "tried"),
    [("a", "aa"), ("ab", "aabb"), ("abc", "aabc"), ("abcd", "abcd"), ("abcdef", "abcd")],
)
def test_one_limit_of_attempts_holds_over_retries_and_fallbacks(
    upstream: Upstream, tmp_path: Path, access_log: Any, targets: str, tried: str, *, streams: bool
) -> None:
    for model in targets:
        upstream.script(model, FAILING)
    retry = {"backoff": "1ms", "max_backoff": "1ms"}
    config = configuration(upstream.url, [f"p-{model}/{model}" for model in targets], retry=retry)

    with boxed(tmp_path, config) as box:
        answer = box.ask("scenario/all", stream=streams)

    assert "".join(upstream.models) == tried
    assert answer.status_code == 502
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["x-router-attempts"] == str(len(tried))
    assert [attempt["model"] for attempt in access_log.next()["attempts"]] == list(tried)


def test_the_clients_own_fallbacks_come_in_their_order(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", FAILING)
    upstream.script("c", FAILING)

    with boxed(tmp_path, configuration(upstream.url, ["p/a", "q/b", "r/c"], retry=ONCE)) as box:
        answer = box.ask("p/a", router={"fallbacks": ["r/c", "q/b"], "debug": True})

    assert upstream.models == ["a", "c", "b"]
    attempts = answer.json()["router"]["attempts"]
    assert [(each["model"], each["outcome"], each["status"]) for each in attempts] == [
        ("a", "server_error", 500),
        ("c", "server_error", 500),
        ("b", "ok", 200),
    ]


def test_a_prompt_that_is_too_long_goes_to_a_larger_window_only(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", refuse(400, "Too long.", code="context_length_exceeded"))
    config = configuration(upstream.url, ["p/a", "q/same", "r/larger"])
    for model, window in zip(config["models"], (8000, 8000, 200_000), strict=True):
        model["context_window"] = window

    with boxed(tmp_path, config) as box:
        answer = box.ask("scenario/all")

    assert answer.status_code == 200
    assert upstream.models == ["a", "larger"]


def test_a_kept_connection_closed_by_the_upstream_is_no_error(
    upstream: Upstream, tmp_path: Path, access_log: Any
) -> None:
    async def whole_then_close(wire: Wire) -> None:
        await upstreams.whole(wire)
        wire.keep = False

    upstream.script("a", whole_then_close)

    with boxed(tmp_path, configuration(upstream.url, ["only/a"], retry=ONCE)) as box:
        statuses = [box.ask("only/a").status_code for _ in range(20)]

    assert statuses == [200] * 20
    assert len(upstream.requests) == 20


def test_a_connection_that_closes_under_a_request_is_no_error(
    upstream: Upstream, tmp_path: Path, access_log: Any
) -> None:
    upstream.script("a", upstreams.whole, upstreams.drop, upstreams.whole)

    with boxed(tmp_path, configuration(upstream.url, ["only/a"])) as box:
        statuses = [box.ask("only/a").status_code for _ in range(3)]

    assert statuses == [200] * 3
    assert len(upstream.requests) == 4


# Deadlines


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "plain"])
def test_the_hard_deadline_holds_over_all_attempts(
    upstream: Upstream, tmp_path: Path, access_log: Any, *, streams: bool
) -> None:
    clock = ServerClock()

    async def refuse_late(wire: Wire) -> None:
        clock.pass_(3599)
        await refuse(503)(wire)

    upstream.script("a", refuse_late)
    upstream.script("b", upstreams.stall)
    config = configuration(upstream.url, ["p/a", "q/b", "r/c"], retry=ONCE, deadline={"hard": "1h"})
    for name in "pq":
        config["providers"][name]["timeouts"] = {"first_token": "2h", "total": "2h"}

    with boxed(tmp_path, config, clock) as box:
        answer = box.ask("scenario/all", stream=streams)

    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert answer.headers["x-should-retry"] == "false"
    assert upstream.models == ["a", "b"]
    assert upstream.requests[1].left() > 0
    assert len(access_log.next()["attempts"]) == 2


def test_no_attempt_is_counted_that_was_not_made(upstream: Upstream, tmp_path: Path, access_log: Any) -> None:
    upstream.script("a", FAILING)
    config = configuration(upstream.url, ["p/a"], retry={"backoff": "1h", "max_backoff": "1h"}, deadline={"hard": "1s"})

    with signalbox(config, tmp_path) as running, patient_client() as http:  # the backoff takes real time
        answer = http.post(f"{running.url}/v1/chat/completions", json=chat("p/a"))

    assert answer.status_code in (502, 504)
    assert len(upstream.requests) == 1
    assert len(access_log.next()["attempts"]) == 1
    assert answer.headers["x-router-attempts"] == "1"


def test_no_retry_after_the_soft_deadline(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", FAILING)
    config = configuration(upstream.url, ["p/a", "q/b"], deadline={"soft": "0s"})

    with boxed(tmp_path, config) as box:
        answer = box.ask("scenario/all")

    assert answer.status_code == 200
    assert upstream.models == ["a", "b"]


def test_the_hard_deadline_does_not_cut_an_answer_that_has_begun(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", upstreams.held([ROLE, *words("a")[:1]], [*words("a")[1:], FINISH, DONE]))
    config = configuration(upstream.url, ["p/a"])
    config["providers"]["p"]["timeouts"] = {"idle": "1d", "total": "1d"}

    with boxed(tmp_path, config) as box:
        url = f"{box.url}/v1/chat/completions"
        with box.http.stream("POST", url, json=chat("p/a", stream=True)) as answer:
            pieces = answer.iter_bytes()
            got = next(pieces)
            box.clock.pass_(3600)
            upstream.requests[0].release()
            got += b"".join(pieces)

    assert got.replace(b": keep-alive\n\n", b"") == b"".join([ROLE, *words("a"), FINISH, DONE])


def test_an_answer_may_take_as_long_as_the_total_says(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", upstreams.held([ROLE, *words("a")[:1]], words("a")[1:2], Wire.stall))
    config = configuration(upstream.url, ["p/a"])
    config["providers"]["p"]["timeouts"] = {"idle": "1d"}

    with boxed(tmp_path, config) as box:
        url = f"{box.url}/v1/chat/completions"
        with box.http.stream("POST", url, json=chat("p/a", stream=True)) as answer:
            pieces = answer.iter_bytes()
            got = next(pieces)
            box.clock.pass_(601)
            upstream.requests[0].release()
            got += b"".join(pieces)

    assert got.startswith(b"".join([ROLE, *words("a")[:1]]))
    assert json.loads(got.decode().split("\n\n")[-2].removeprefix("data: "))["error"]["code"] == "upstream_timeout"
    assert upstream.requests[0].left() > 0


# Reload


def test_a_reload_leaves_a_stream_with_its_old_target(
    upstream: Upstream, module_upstream: Upstream, tmp_path: Path
) -> None:
    module_upstream.clear()
    upstream.script("a", upstreams.held([ROLE, *words("a")[:1]], [*words("a")[1:], FINISH, DONE]))

    with boxed(tmp_path, configuration(upstream.url, ["p/a"])) as box:
        version = box.ready()["config"]
        with box.http.stream("POST", f"{box.url}/v1/chat/completions", json=chat("p/a", stream=True)) as answer:
            pieces = answer.iter_bytes()
            got = next(pieces)
            box.running.config.write_text(yaml.safe_dump(configuration(module_upstream.url, ["p/a"])))
            until(lambda: box.ready()["config"] != version)
            other = box.ask("p/a")
            upstream.requests[0].release()
            got += b"".join(pieces)

    assert got.replace(b": keep-alive\n\n", b"") == b"".join([ROLE, *words("a"), FINISH, DONE])
    assert other.status_code == 200
    assert (upstream.models, module_upstream.models) == (["a"], ["a"])


def test_a_configuration_that_is_wrong_is_not_put_in_force(upstream: Upstream, tmp_path: Path) -> None:
    with boxed(tmp_path, configuration(upstream.url, ["p/a"])) as box:
        version = box.ready()["config"]
        box.running.config.write_text("providers: {p: {base_uri: http://127.0.0.1:9}}\n")
        state = until(lambda: found if "config_error" in (found := box.ready()) else {})
        answer = box.ask("p/a")
        metrics = box.http.get(f"{box.url}/metrics").text

    assert (state["status"], state["config"]) == ("ok", version)
    assert answer.status_code == 200
    assert "\nsignalbox_config_reload_success 0.0\n" in metrics


def test_a_reload_keeps_what_is_known_of_health(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", FAILING)
    config = configuration(upstream.url, ["bad/a", "good/b"], retry=ONCE, breaker={"consecutive": 1})

    with boxed(tmp_path, config) as box:
        box.ask("scenario/all")
        version = box.ready()["config"]
        box.running.config.write_text(yaml.safe_dump({**config, "logs": {"access": False}}))
        until(lambda: box.ready()["config"] != version)
        box.ask("scenario/all")

    assert upstream.models == ["a", "b", "b"]


SCRIPTED: dict[str, Script] = {"reset": upstreams.reset, "500": FAILING, "stall": upstreams.stall}


@pytest.mark.parametrize("script", SCRIPTED.values(), ids=SCRIPTED.keys())
def test_one_bad_target_of_two_is_hardly_noticed(upstream: Upstream, tmp_path: Path, script: Script) -> None:
    upstream.script("a", script)
    slow_calls = {"enabled": False}  # a pause of the machine must not speak against the good one
    config = configuration(upstream.url, ["bad/a", "good/b"], slow_calls=slow_calls)
    if script is upstreams.stall:
        config["providers"]["bad"]["timeouts"] = {"first_token": "1s"}

    with boxed(tmp_path, config) as box, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: box.ask("scenario/all", stream=True), range(60)))

    assert [answer.status_code for answer in answers] == [200] * 60
    assert all("b2 " in answer.text for answer in answers)
    assert upstream.models.count("a") <= 3 + 2 * 8
