"""Limits learned from providers, and limits of a day: at `/admin/limits` and in `retry-after`.

Time stands still but for what the tests let go by, so that "when" is exact: a moment earlier is too early.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.boxes import Box, boxed
from tests.support.clocks import ServerClock
from tests.support.natives import NativeUpstream, wire_format_of
from tests.support.upstreams import Script, Wire, completion, plain, running, whole
from tests.support.waiting import PATIENCE, until

DIALECTS = ["openai", "anthropic"]
HOUR = 3600.0
LONGER = 1.0 / 128  # of its time, by which a window is longer than that at most
DAY_LONGER = 24 * HOUR * LONGER + 0.001


@pytest.fixture
def native() -> Iterator[NativeUpstream]:
    with running(NativeUpstream()) as found:
        yield found


def configuration(url: str, dialect: str = "openai", **limits: int) -> dict[str, Any]:
    """One model that nobody waits for but who says so."""
    base = f"{url}/v1" if dialect == "openai" else url
    keys = [{"id": "one", "value": "sk-one-00000000"}]
    return {
        "auth": {"admin_token": "admin"},
        "providers": {"up": {"base_url": base, "dialect": dialect, "keys": keys}},
        "models": [{"id": "up/a", "limits": limits}],
        "resilience": {"queue": {"max_wait": "0s"}},
    }


def limit_headers(clock: ServerClock, dialect: str, what: str, reset: float, **counts: int) -> dict[str, str]:
    """A provider's headers: `limit` and `remaining` of `what`, and in how many seconds that begins anew."""
    if dialect == "openai":
        headers = {f"x-ratelimit-{name}-{what}": str(count) for name, count in counts.items()}
        return {**headers, f"x-ratelimit-reset-{what}": f"{reset:g}s"}
    at = datetime.fromtimestamp(clock.time() + reset, UTC).isoformat().replace("+00:00", "Z")
    headers = {f"anthropic-ratelimit-{what}-{name}": str(count) for name, count in counts.items()}
    return {**headers, f"anthropic-ratelimit-{what}-reset": at}


def answering(headers: dict[str, str]) -> Script:
    """The right answer of the API that is asked, with these headers."""

    async def script(wire: Wire) -> None:
        await plain(wire_format_of(wire.request).body("hello"), headers=headers)(wire)

    return script


def limits(box: Box) -> dict[str, dict[str, Any]]:
    """The rows of the one model, by kind."""
    return {row["kind"]: row for row in box.admin("limits")}


def come_again(answer: httpx.Response) -> float:
    """The seconds of `retry-after`, which are the same in both forms."""
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    milliseconds = int(answer.headers["retry-after-ms"])
    assert answer.headers["retry-after"] == str(math.ceil(milliseconds / 1000))
    return milliseconds / 1000


def assert_exact(box: Box, clock: ServerClock, seconds: float, **more: Any) -> None:
    """Who comes a moment too early is refused for that moment; who comes in time is not."""
    clock.pass_(seconds - 0.002)
    assert come_again(box.ask("up/a", **more)) <= 0.003
    clock.pass_(0.003)
    assert box.ask("up/a", **more).status_code == 200


# What providers say


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_limit_that_a_provider_tells_is_kept_to_the_moment(
    native: NativeUpstream, tmp_path: Path, dialect: str
) -> None:
    clock = ServerClock()
    native.script("a", answering(limit_headers(clock, dialect, "requests", 20, limit=3, remaining=2)))

    with boxed(tmp_path, configuration(native.url, dialect), clock) as box:
        before = limits(box)
        box.ask("up/a")
        learned_row = limits(box)["rpm"]
        statuses = [box.ask("up/a").status_code for _ in range(3)]
        refused = box.ask("up/a")
        full = limits(box)["rpm"]
        assert_exact(box, clock, come_again(refused))

    assert before == {}
    assert (learned_row["limit"], learned_row["learned"], learned_row["key"]) == (3, True, "one")
    assert statuses == [200] * 3
    assert (full["used"], full["limit"]) == (3, 3)
    assert 60 < come_again(refused) <= 60 + 60 * LONGER + 0.001
    assert len(native.requests) == 5


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_queued_call_is_next_under_a_learned_limit(
    native: NativeUpstream, tmp_path: Path, access_log: Any, dialect: str
) -> None:
    clock = ServerClock()
    native.script("a", answering(limit_headers(clock, dialect, "requests", 20, limit=1, remaining=1)))

    with boxed(tmp_path, configuration(native.url, dialect), clock) as box:
        for _ in range(2):
            box.ask("up/a")
        seconds = come_again(box.ask("up/a"))
        waiting = box.begin("up/a", router={"max_wait_seconds": 90})
        until(lambda: box.depth() == 1)
        clock.pass_(seconds - 1)
        box.rounds()
        early = (box.depth(), len(native.requests))
        clock.pass_(1.001)
        answer = waiting.result(PATIENCE)
        lines = [access_log.next() for _ in range(4)]

    assert early == (1, 2)
    assert answer.status_code == 200
    assert lines[-1]["predicted_wait_ms"] == pytest.approx(seconds * 1000, abs=2)
    assert lines[-1]["waited_ms"] == pytest.approx(seconds * 1000 + 1, abs=2)


USED_UP: dict[str, tuple[str, str, float, float]] = {  # until it is full again, and until there is room for one more
    "openai, requests": ("openai", "requests", 40, 2),
    "openai, tokens": ("openai", "tokens", 40, 40),
    "openai, a day": ("openai", "requests", 7200, 360),
    "anthropic, requests": ("anthropic", "requests", 40, 2),
    "anthropic, tokens": ("anthropic", "tokens", 40, 40),
    "anthropic, input": ("anthropic", "input-tokens", 40, 40),
    "anthropic, output": ("anthropic", "output-tokens", 40, 40),
}


@pytest.mark.parametrize(("dialect", "what", "reset", "room"), USED_UP.values(), ids=USED_UP.keys())
def test_a_limit_that_is_used_up_is_waited_for_to_the_moment(
    native: NativeUpstream, tmp_path: Path, dialect: str, what: str, reset: float, room: float
) -> None:
    clock = ServerClock()
    native.script("a", answering(limit_headers(clock, dialect, what, reset, limit=20, remaining=0)), answering({}))

    with boxed(tmp_path, configuration(native.url, dialect), clock) as box:
        box.ask("up/a", max_tokens=1)
        row = limits(box)["rest"]
        refused = box.ask("up/a", max_tokens=1)
        asked = len(native.requests)
        clock.pass_(come_again(refused) - 0.002)
        early = box.ask("up/a", max_tokens=1).status_code
        clock.pass_(0.003)
        then = box.ask("up/a", max_tokens=1).status_code

    assert row["rest_seconds_left"] == pytest.approx(room, abs=0.002)
    assert come_again(refused) == pytest.approx(room, abs=0.002)  # in whole milliseconds, never too few
    assert (asked, early, then) == (1, 429, 200)


def test_the_rest_of_a_used_up_limit_is_waited_out_by_who_may(native: NativeUpstream, tmp_path: Path) -> None:
    clock = ServerClock()
    native.script("a", answering(limit_headers(clock, "anthropic", "tokens", 40, remaining=0)), answering({}))

    with boxed(tmp_path, configuration(native.url, "anthropic"), clock) as box:
        box.ask("up/a")
        waiting = box.begin("up/a", router={"max_wait_seconds": 60})
        until(lambda: box.depth() == 1)
        clock.pass_(39)
        box.rounds()
        early = (box.depth(), len(native.requests))
        clock.pass_(1.001)
        answer = waiting.result(PATIENCE)

    assert early == (1, 1)
    assert answer.status_code == 200


@pytest.mark.parametrize("dialect", DIALECTS)
def test_of_what_is_configured_and_what_is_told_the_lower_holds(
    native: NativeUpstream, tmp_path: Path, dialect: str
) -> None:
    clock = ServerClock()
    native.script(
        "a",
        *[answering(limit_headers(clock, dialect, "requests", 20, limit=3, remaining=2))] * 3,
        answering(limit_headers(clock, dialect, "requests", 20, limit=50, remaining=40)),
    )

    with boxed(tmp_path, configuration(native.url, dialect, rpm=5), clock) as box:
        statuses = [box.ask("up/a").status_code for _ in range(3)]
        refused = box.ask("up/a")
        row = limits(box)["rpm"]
        clock.pass_(come_again(refused))
        statuses += [box.ask("up/a").status_code for _ in range(6)]

    assert statuses == [200] * 3 + [200] * 5 + [429]
    assert (row["limit"], row["learned"]) == (3, True)


def test_what_was_just_told_is_shown_before_anybody_asks_again(native: NativeUpstream, tmp_path: Path) -> None:
    clock = ServerClock()
    native.script(
        "a",
        answering(limit_headers(clock, "openai", "requests", 20, limit=3, remaining=2)),
        answering(limit_headers(clock, "openai", "requests", 20, limit=50, remaining=40)),
    )

    with boxed(tmp_path, configuration(native.url, rpm=5), clock) as box:
        rows = [limits(box)["rpm"]]
        for _ in range(2):
            box.ask("up/a")
            rows.append(limits(box)["rpm"])

    learned_row = [(row["limit"], row["learned"], row["used"]) for row in rows]
    assert learned_row == [(5, False, 0), (3, True, 1), (5, False, 2)]


def test_learned_limits_expire_after_ten_minutes(native: NativeUpstream, tmp_path: Path) -> None:
    clock = ServerClock()
    native.script("a", answering(limit_headers(clock, "openai", "requests", 20, limit=1, remaining=1)), answering({}))

    with boxed(tmp_path, configuration(native.url), clock) as box:
        box.ask("up/a")
        clock.pass_(599)
        box.ask("up/a")
        still = limits(box)
        clock.pass_(1.001)
        statuses = [box.ask("up/a").status_code for _ in range(5)]

    assert still["rpm"]["learned"]
    assert statuses == [200] * 5


@pytest.mark.parametrize("dialect", DIALECTS)
def test_tokens_of_a_learned_limit_are_reserved_and_released(
    native: NativeUpstream, tmp_path: Path, dialect: str
) -> None:
    clock = ServerClock()
    headers = limit_headers(clock, dialect, "tokens", 20, limit=2000, remaining=1900)

    async def held(wire: Wire) -> None:
        await wire.hold()
        await answering(headers)(wire)

    native.script("a", answering(headers), held, answering(headers))

    with boxed(tmp_path, configuration(native.url, dialect), clock) as box:
        box.ask("up/a")
        native.next()
        first = box.begin("up/a", max_tokens=1500)
        request = native.next()
        reserved = limits(box)["tpm"]
        refused = box.ask("up/a", max_tokens=1500)
        request.release()
        first.result(PATIENCE)
        until(lambda: limits(box)["tpm"]["used"] == 10)
        after = box.ask("up/a", max_tokens=1500)

    assert (reserved["limit"], reserved["learned"]) == (2000, True)
    assert 1500 < reserved["used"] <= 1600
    assert come_again(refused) <= 2.0  # what is only reserved may come back soon
    assert after.status_code == 200


# Limits of a day


def test_requests_of_a_day_are_those_of_any_24_hours(native: NativeUpstream, tmp_path: Path) -> None:
    clock = ServerClock()
    native.script("a", whole)

    with boxed(tmp_path, configuration(native.url, rpd=3), clock) as box:
        statuses = [box.ask("up/a").status_code]
        clock.pass_(10 * HOUR)
        statuses += [box.ask("up/a").status_code for _ in range(2)]
        refused = [box.ask("up/a")]
        full = limits(box)["rpd"]
        assert_exact(box, clock, come_again(refused[0]))  # the first one's place
        refused.append(box.ask("up/a"))
        assert_exact(box, clock, come_again(refused[1]))  # the second one's
        last = box.ask("up/a")

    assert statuses == [200] * 3
    assert (full["used"], full["limit"], full["learned"]) == (3, 3, False)
    assert 14 * HOUR < come_again(refused[0]) <= 14 * HOUR + DAY_LONGER
    assert 10 * HOUR - DAY_LONGER < come_again(refused[1]) <= 10 * HOUR + DAY_LONGER
    assert last.status_code == 200  # the third one came together with the second
    assert len(native.requests) == 6


@pytest.mark.parametrize("reported", [10**12, 10**30, -(10**12)], ids=["10^12", "10^30", "negative"])
def test_impossible_usage_does_not_use_up_a_limit(native: NativeUpstream, tmp_path: Path, reported: int) -> None:
    usage = {"prompt_tokens": reported, "completion_tokens": reported, "total_tokens": reported}
    native.script("a", plain(json.dumps({**completion("hello"), "usage": usage}).encode()))

    with boxed(tmp_path, configuration(native.url, tpd=1000), ServerClock()) as box:
        statuses = [box.ask("up/a", max_tokens=100).status_code for _ in range(5)]
        used = limits(box)["tpd"]["used"]

    assert statuses == [200] * 5
    assert 500 <= used < 1000  # what was reserved


def test_tokens_of_a_day_are_those_of_any_24_hours(native: NativeUpstream, tmp_path: Path) -> None:
    clock = ServerClock()
    usage = {"prompt_tokens": 300, "completion_tokens": 100, "total_tokens": 400}
    native.script("a", plain(json.dumps({**completion("hello"), "usage": usage}).encode()))

    with boxed(tmp_path, configuration(native.url, tpd=1000), clock) as box:
        used = []
        for hours in (0, 12):
            clock.pass_(hours * HOUR)
            box.ask("up/a", max_tokens=100)
            used.append(limits(box)["tpd"]["used"])
        small = box.ask("up/a", max_tokens=20)
        used.append(limits(box)["tpd"]["used"])
        refused = [box.ask("up/a", max_tokens=tokens) for tokens in (20, 300)]
        assert_exact(box, clock, come_again(refused[0]), max_tokens=20)

    assert used == [400, 800, 1200]  # more than the limit has happened, and counts
    assert small.status_code == 200
    assert 12 * HOUR - DAY_LONGER < come_again(refused[0]) <= 12 * HOUR + DAY_LONGER  # when the first 400 are a day old
    assert 24 * HOUR < come_again(refused[1]) <= 24 * HOUR + DAY_LONGER  # when the others are, too


def test_a_new_day_of_the_calendar_makes_no_room(native: NativeUpstream, tmp_path: Path) -> None:
    clock = ServerClock()
    midnight = 24 * HOUR - clock.time() % (24 * HOUR)

    with boxed(tmp_path, configuration(native.url, rpd=1), clock) as box:
        clock.pass_(midnight - 1)
        first = box.ask("up/a").status_code
        clock.pass_(2)
        refused = box.ask("up/a")
        assert_exact(box, clock, come_again(refused))

    assert first == 200
    assert 24 * HOUR - 2 < come_again(refused) <= 24 * HOUR - 2 + DAY_LONGER


def test_a_learned_daily_limit_has_an_exact_retry_after(native: NativeUpstream, tmp_path: Path) -> None:
    clock = ServerClock()
    native.script("a", answering(limit_headers(clock, "openai", "requests", 7200, limit=1, remaining=1)), answering({}))

    with boxed(tmp_path, configuration(native.url), clock) as box:
        for _ in range(2):
            box.ask("up/a")
        row = limits(box)["rpd"]
        refused = box.ask("up/a")
        clock.pass_(601)
        later = box.ask("up/a")

    assert (row["limit"], row["learned"]) == (1, True)
    assert (later.status_code == 200) == (come_again(refused) <= 601)


def test_each_key_has_its_day(native: NativeUpstream, tmp_path: Path) -> None:
    clock = ServerClock()
    config = configuration(native.url, rpd=5)
    config["providers"]["up"]["keys"] = [
        {"id": "one", "value": "sk-one-00000000", "limits": {"rpd": 1}},
        {"id": "two", "value": "sk-two-00000000"},
    ]

    with boxed(tmp_path, config, clock) as box:
        statuses = [box.ask("up/a").status_code for _ in range(7)]
        clock.pass_(24 * HOUR + DAY_LONGER)
        later = [box.ask("up/a").status_code for _ in range(7)]

    assert statuses == later == [200] * 6 + [429]
    keys = [request.headers["authorization"] for request in native.requests]
    assert keys.count("Bearer sk-one-00000000") == 2
