"""How long a breaker stays open by the class of what opened it, at `/admin/breakers` and in what gets through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import upstreams
from tests.support.boxes import Box, boxed
from tests.support.clocks import ServerClock
from tests.support.upstreams import Script, Upstream, plain, refuse

LATE, FAILING, MALFORMED = refuse(408), refuse(500), plain(b"{")
OWN = {
    "timeout": {"open": "10s", "max_open": "25s"},
    "server_error": {"open": "100s", "max_open": "150s"},
    "rate_limit": {"breaker": True, "key": "none", "max_open": "40s"},
}


def configuration(url: str, first_token: str = "1h", **resilience: Any) -> dict[str, Any]:
    """Two models at a provider that fails, each with the same spare; nothing is probed but by calls."""
    fast = {"retry": {"same_target": 0, "backoff": "1ms", "max_backoff": "1ms"}, "probes": {"enabled": False}}
    return {
        "auth": {"admin_token": "admin"},
        "providers": {
            "up": {"base_url": url, "timeouts": {"first_token": first_token}},
            "spare": {"base_url": url},
        },
        "models": [{"id": "up/a"}, {"id": "up/b"}, {"id": "spare/c"}],
        "routing": {"scenarios": {"a": ["up/a", "spare/c"], "b": ["up/b", "spare/c"]}},
        "resilience": {**fast, "breaker": {"consecutive": 1}, **resilience},
    }


def preset(url: str, **resilience: Any) -> dict[str, Any]:
    """The same with the values of `bkvy`, but for the pauses between retries, which are not tested here."""
    config = configuration(url, preset="bkvy", **resilience)
    config["resilience"]["retry"] = {"backoff": "1ms", "max_backoff": "1ms"}
    del config["resilience"]["breaker"]
    return config


def open_times(box: Box, clock: ServerClock, upstream: Upstream, openings: int, **more: Any) -> list[float]:
    """Return the reported time of each opening of `up/a`, which is tried again when it is over and not earlier.

    The first call may take as many attempts as it likes.
    """
    seen = []
    for _ in range(openings):
        box.ask("scenario/a", **more)
        state, seconds = box.breakers()["up/a#-"]
        asked = upstream.models.count("a")
        clock.pass_(seconds - 0.01)
        early = box.ask("scenario/a", **more)
        seen.append(seconds)
        assert (state, early.headers["x-router-provider"]) == ("open", "spare")
        assert upstream.models.count("a") == asked
        clock.pass_(0.02)
    return seen


@pytest.mark.parametrize(
    ("script", "times"),
    [
        (LATE, [10, 20, 25, 25]),
        (FAILING, [100, 150, 150]),
        (refuse(503), [100, 150, 150]),
        (upstreams.reset, [100, 150, 150]),
        (refuse(429), [40, 40]),
        (MALFORMED, [60, 120, 240]),
    ],
    ids=["timeout", "500", "503", "reset", "429", "malformed"],
)
def test_each_class_has_its_open_time(upstream: Upstream, tmp_path: Path, script: Script, times: list[float]) -> None:
    clock = ServerClock()
    upstream.script("a", script)

    with boxed(tmp_path, configuration(upstream.url, failures=OWN), clock) as box:
        seen = open_times(box, clock, upstream, len(times))

    assert seen == pytest.approx(times, abs=0.001)


def test_a_real_silence_is_of_the_class_of_timeouts(upstream: Upstream, tmp_path: Path) -> None:
    clock = ServerClock()
    upstream.script("a", upstreams.stall)

    with boxed(tmp_path, configuration(upstream.url, first_token="50ms", failures=OWN), clock) as box:
        seen = open_times(box, clock, upstream, 2, stream=True)

    assert seen == pytest.approx([10, 20], abs=0.001)


def test_breakers_of_one_provider_have_their_own_open_times(upstream: Upstream, tmp_path: Path) -> None:
    clock = ServerClock()
    upstream.script("a", LATE, upstreams.whole)
    upstream.script("b", FAILING, upstreams.whole)

    with boxed(tmp_path, configuration(upstream.url, failures=OWN), clock) as box:
        for model in "ab":
            box.ask(f"scenario/{model}")
        seen = box.breakers()
        clock.pass_(11)
        later = [box.ask(f"scenario/{model}").headers["x-router-provider"] for model in "ab"]
        left = box.breakers()
        clock.pass_(90)
        last = box.ask("scenario/b").headers["x-router-provider"]

    assert seen == {"up/a#-": ("open", 10.0), "up/b#-": ("open", 100.0)}
    assert later == ["up", "spare"]
    assert left == {"up/b#-": ("open", 89.0)}
    assert last == "up"


def test_the_newest_failure_says_for_how_long(upstream: Upstream, tmp_path: Path) -> None:
    clock = ServerClock()
    upstream.script("a", LATE, FAILING, LATE)

    with boxed(tmp_path, configuration(upstream.url, failures=OWN), clock) as box:
        seen = open_times(box, clock, upstream, 3)

    assert seen == pytest.approx(
        [10, 150, 25], abs=0.001
    )  # 10 s; 100 s twice, at most 150; 10 s four times, at most 25


@pytest.mark.parametrize(
    ("script", "attempts", "times"),
    [
        (LATE, 3, [10, 20, 40, 80, 160, 300, 300]),
        (FAILING, 3, [30, 60, 120, 240, 480, 960, 1800, 1800]),
    ],
    ids=["timeout", "500"],
)
def test_bkvy_opens_after_three_for_the_time_of_the_class(
    upstream: Upstream, tmp_path: Path, script: Script, attempts: int, times: list[float]
) -> None:
    clock = ServerClock()
    upstream.script("a", script)

    with boxed(tmp_path, preset(upstream.url), clock) as box:
        seen = open_times(box, clock, upstream, len(times))

    assert seen == pytest.approx(times, abs=0.001)
    assert upstream.models.count("a") == attempts + len(times) - 1  # the retries end where the breaker opens


def test_bkvy_opens_the_breaker_at_the_third_rate_limit(upstream: Upstream, tmp_path: Path) -> None:
    clock = ServerClock()
    upstream.script("a", refuse(429))

    with boxed(tmp_path, preset(upstream.url), clock) as box:
        states = []
        for _ in range(3):
            box.ask("scenario/a")
            states.append(box.breakers())
            early = box.ask("scenario/a")
            clock.pass_(59)
            late = box.ask("scenario/a")
            clock.pass_(2)

    assert states == [{}, {}, {"up/a#-": ("open", 60.0)}]
    assert {early.headers["x-router-provider"], late.headers["x-router-provider"]} == {"spare"}
    assert upstream.models.count("a") == 3


def test_bkvy_never_opens_a_breaker_for_what_it_does_not_know(upstream: Upstream, tmp_path: Path) -> None:
    upstream.script("a", MALFORMED)

    with boxed(tmp_path, preset(upstream.url), ServerClock()) as box:
        answers = [box.ask("scenario/a") for _ in range(5)]
        breakers = box.breakers()

    assert {answer.headers["x-router-provider"] for answer in answers} == {"spare"}
    assert upstream.models == ["a", "a", "a", "c"] * 5
    assert breakers == {}


def test_what_the_file_says_stands_above_the_preset(upstream: Upstream, tmp_path: Path) -> None:
    clock = ServerClock()
    upstream.script("a", LATE)
    upstream.script("b", FAILING)
    config = preset(upstream.url, failures={"timeout": {"open": "7s", "retries": 0}})

    with boxed(tmp_path, config, clock) as box:
        for _ in range(3):
            box.ask("scenario/a")
        box.ask("scenario/b")
        seen = box.breakers()

    assert seen == {"up/a#-": ("open", 7.0), "up/b#-": ("open", 30.0)}
    assert upstream.models.count("a") == 3


def test_an_open_time_of_a_class_outlives_a_restart(upstream: Upstream, tmp_path: Path) -> None:
    clock = ServerClock()
    upstream.script("a", LATE)
    config = configuration(upstream.url, failures={"timeout": {"open": "20m"}})

    with boxed(tmp_path, config, clock) as box:
        box.ask("scenario/a")
    clock.pass_(60)
    with boxed(tmp_path, config, clock) as box:
        seen = box.breakers()

    assert seen["up/a#-"] == ("open", pytest.approx(19 * 60, abs=1))


def test_a_longer_open_time_of_a_class_survives_a_restart(upstream: Upstream, tmp_path: Path) -> None:
    clock = ServerClock()
    upstream.script("a", LATE)
    config = configuration(upstream.url, failures={"timeout": {"open": "2h", "max_open": "4h"}})

    with boxed(tmp_path, config, clock) as box:
        box.ask("scenario/a")
    clock.pass_(60)
    with boxed(tmp_path, config, clock) as box:
        seen = box.breakers()

    assert seen["up/a#-"] == ("open", pytest.approx(119 * 60, abs=1))
