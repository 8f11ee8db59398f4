"""Probes of open breakers as a provider sees them: what it is asked, when, and that no user's call is risked meanwhile.

The upstream's log is the truth. Time goes by only as the tests say, and the prober looks at once when it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import upstreams
from tests.support.boxes import Box, boxed
from tests.support.clocks import ServerClock
from tests.support.model_lists import LIST, ListingUpstream, listing_upstream, models
from tests.support.upstreams import DONE, FINISH, ROLE, Script, Wire, plain, refuse, stream, words
from tests.support.waiting import PATIENCE, until

MALFORMED = plain(b"{")
HELD = upstreams.then(Wire.hold, models)
OPEN = 60.0  # seconds
SOONEST, LATEST = OPEN - 5, OPEN - 2.5  # between which a probe goes out


@pytest.fixture
def listing(monkeypatch: pytest.MonkeyPatch) -> Iterator[ListingUpstream]:
    """An upstream with a list, and a prober whose patience no slow machine ends."""
    monkeypatch.setattr("proxy.upstream.probe_requests.TIMEOUT_SECONDS", 3600.0)
    with listing_upstream() as found:
        yield found


def configuration(url: str, **resilience: Any) -> dict[str, Any]:
    return {
        "auth": {"admin_token": "admin"},
        "providers": {"up": {"base_url": url}, "spare": {"base_url": f"{url}/spare"}},
        "models": [{"id": "up/a"}, {"id": "spare/b"}],
        "routing": {"scenarios": {"all": ["up/a", "spare/b"]}},
        "resilience": {"breaker": {"consecutive": 1}, "retry": {"same_target": 0}, **resilience},
    }


def set_forward(box: Box, clock: ServerClock, seconds: float) -> None:
    """Let time go by, and the prober look."""
    clock.pass_(seconds)
    box.rounds()


def by_name(listing: ListingUpstream, name: str) -> None:
    """Wait until somebody asks for that."""
    while listing.next().model != name:
        pass


@pytest.mark.parametrize(
    ("script", "streams"),
    [
        (MALFORMED, False),
        (stream([ROLE]), True),
        (refuse(408), False),
        (stream([ROLE, *words("half")], Wire.eof), True),
    ],
    ids=["malformed", "without a finish", "timeout", "broken off"],
)
def test_where_the_list_cannot_tell_one_token_does(
    listing: ListingUpstream, tmp_path: Path, script: Script, *, streams: bool
) -> None:
    clock = ServerClock()
    listing.script("a", script, upstreams.whole)

    with boxed(tmp_path, configuration(listing.url, probes={"chat": True}), clock) as box:
        box.ask("scenario/all", stream=streams)
        opened, asked = box.breakers(), listing.requested
        set_forward(box, clock, SOONEST - 0.1)
        before = listing.requested
        clock.pass_(LATEST - SOONEST + 0.2)
        until(lambda: not box.breakers())
        after = box.ask("scenario/all", stream=streams)

    assert opened == {"up/a#-": ("open", OPEN)}
    assert before == asked
    assert listing.requested[len(asked) :] == [LIST, "probe of a", "a"]
    assert after.headers["x-router-provider"] == "up"
    [probe] = [request for request in listing.requests if request.json.get("max_tokens") == 1]
    assert probe.path == "/v1/chat/completions"
    assert not probe.stream


def test_a_breaker_opened_by_slow_calls_is_probed_with_one_token(listing: ListingUpstream, tmp_path: Path) -> None:
    clock = ServerClock()
    usual = stream([ROLE, *words("a"), FINISH, DONE])
    listing.script("a", *[usual] * 10, upstreams.held([ROLE], [*words("a"), FINISH, DONE]), upstreams.whole)

    with boxed(tmp_path, configuration(listing.url, probes={"chat": True}), clock) as box:
        for _ in range(10):
            box.ask("scenario/all", stream=True)
            listing.next()
        slow = box.begin("scenario/all", stream=True)
        request = listing.next()
        clock.pass_(30)
        request.release()
        answer = slow.result(PATIENCE)
        until(lambda: bool(box.breakers()))
        opened = box.breakers()
        clock.pass_(LATEST + 0.1)
        until(lambda: not box.breakers())

    assert "a2 " in answer.text
    assert opened == {"up/a#-": ("open", OPEN)}
    assert listing.requested[11:] == [LIST, "probe of a"]


@pytest.mark.parametrize("script", [MALFORMED, refuse(408)], ids=["malformed", "timeout"])
def test_without_the_setting_a_user_is_the_first_to_try(
    listing: ListingUpstream, tmp_path: Path, script: Script
) -> None:
    clock = ServerClock()
    listing.script("a", script, upstreams.whole)

    with boxed(tmp_path, configuration(listing.url), clock) as box:
        box.ask("scenario/all")
        clock.pass_(LATEST + 0.1)
        by_name(listing, LIST)
        set_forward(box, clock, 1)
        still = box.ask("scenario/all").headers["x-router-provider"]
        set_forward(box, clock, OPEN)
        waiting = box.breakers()
        after = box.ask("scenario/all").headers["x-router-provider"]

    assert (still, waiting, after) == ("spare", {"up/a#-": ("half-open", 0.0)}, "up")
    assert listing.requested == ["a", "b", LIST, "b", "a"]


def test_probes_that_are_turned_off_are_not_sent(listing: ListingUpstream, tmp_path: Path) -> None:
    clock = ServerClock()
    listing.script("a", refuse(500), upstreams.whole)
    config = configuration(listing.url, probes={"enabled": False, "chat": True})

    with boxed(tmp_path, config, clock) as box:
        box.ask("scenario/all")
        for seconds in (LATEST, 2, 60):
            set_forward(box, clock, seconds)
        breakers = box.breakers()

    assert breakers == {"up/a#-": ("half-open", 0.0)}
    assert listing.requested == ["a", "b"]


@pytest.mark.parametrize("status", [500, 503])
def test_a_list_is_enough_for_a_server_that_failed(listing: ListingUpstream, tmp_path: Path, status: int) -> None:
    clock = ServerClock()
    listing.script("a", refuse(status), upstreams.whole)

    with boxed(tmp_path, configuration(listing.url, probes={"chat": True}), clock) as box:
        box.ask("scenario/all")
        clock.pass_(LATEST + 0.1)
        until(lambda: not box.breakers())

    assert listing.requested == ["a", "b", LIST]


@pytest.mark.parametrize("met", ["list", "call"])
def test_a_probe_that_fails_opens_the_breaker_for_twice_as_long(
    listing: ListingUpstream, tmp_path: Path, met: str
) -> None:
    clock = ServerClock()
    listing.script("a", refuse(500) if met == "list" else MALFORMED)
    if met == "list":  # which is believed where it fails as the call did
        listing.script(LIST, refuse(503), models)

    with boxed(tmp_path, configuration(listing.url, probes={"chat": True}), clock) as box:
        box.ask("scenario/all")
        clock.pass_(LATEST + 0.1)
        until(lambda: box.breakers()["up/a#-"][1] > OPEN)
        told = box.breakers()
        asked = listing.requested[2:]
        listing.script("a", upstreams.whole)
        set_forward(box, clock, 2 * OPEN - 5.1)
        before = listing.requested[2:]
        clock.pass_(2.7)
        until(lambda: not box.breakers())

    assert told == {"up/a#-": ("open", 2 * OPEN)}
    assert asked == before == ([LIST] if met == "list" else [LIST, "probe of a"])
    assert listing.requested[2 + len(asked) :] == ([LIST] if met == "list" else [LIST, "probe of a"])


def test_while_a_probe_is_out_no_user_is_let_through(listing: ListingUpstream, tmp_path: Path) -> None:
    clock = ServerClock()
    listing.script("a", refuse(500), upstreams.whole)
    listing.script(LIST, HELD)

    with boxed(tmp_path, configuration(listing.url), clock) as box:
        box.ask("scenario/all")
        clock.pass_(LATEST + 0.1)
        request = listing.next()
        while request.model != LIST:
            request = listing.next()
        set_forward(box, clock, 5)  # the open time is over
        during = [box.ask("scenario/all").headers["x-router-provider"] for _ in range(3)]
        request.release()
        until(lambda: not box.breakers())
        after = box.ask("scenario/all").headers["x-router-provider"]

    assert during == ["spare"] * 3
    assert after == "up"


def test_at_most_five_probes_are_out_at_once(listing: ListingUpstream, tmp_path: Path) -> None:
    clock, names = ServerClock(), [f"p{number}" for number in range(8)]
    config = configuration(listing.url)
    for name in names:
        config["providers"][name] = {"base_url": f"{listing.url}/{name}"}
        config["models"].append({"id": f"{name}/{name}"})
        listing.script(name, refuse(500))
        listing.script(f"GET /v1/{name}/models", HELD)

    with boxed(tmp_path, config, clock) as box:
        for name in names:
            box.ask(f"{name}/{name}")
            listing.next()
        clock.pass_(LATEST + 0.1)
        out = [listing.next() for _ in range(5)]
        at_first = []
        for _ in range(3):
            set_forward(box, clock, 1)  # the prober looks again
            at_first.append(len(listing.requests) - len(names))
        later = []
        for _ in range(3):
            out.pop(0).release()
            out.append(listing.next())
            set_forward(box, clock, 1)
            later.append(len(listing.requests) - len(names))
        for request in out:
            request.release()
        until(lambda: not box.breakers())

    assert (at_first, later) == ([5, 5, 5], [6, 7, 8])
    assert sorted(listing.requested[len(names) :]) == sorted(f"GET /v1/{name}/models" for name in names)


def test_a_probe_is_sent_shortly_before_the_open_time_ends(listing: ListingUpstream, tmp_path: Path) -> None:
    clock = ServerClock()
    listing.script("a", refuse(500), upstreams.whole)
    config = configuration(listing.url, failures={"server_error": {"open": "4s"}})

    with boxed(tmp_path, config, clock) as box:
        box.ask("scenario/all")
        told = box.breakers()
        set_forward(box, clock, 2)  # half of it
        set_forward(box, clock, 0.1)
        asked = listing.requested

    assert told == {"up/a#-": ("open", 4.0)}
    assert asked == ["a", "b"]
