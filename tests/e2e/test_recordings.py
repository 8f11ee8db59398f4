"""Recorded traffic through Signalbox, unchanged in both directions, however it is written and however it is cut.

A provider with `stream_usage: never` gets the client's bytes but for the value of `model`, and the client the
provider's. With `ask`, `stream_options` may be added, and the one usage chunk that this brings is taken out again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from tests.support import exchanges
from tests.support.exchanges import CUTS, STYLES, Exchange
from tests.support.servers import Running, signalbox
from tests.support.upstreams import Script, Upstream, Wire

FILES = exchanges.files()
EVENT = re.compile(rb".*?(?:\r\n\r\n|\n\n|\r\r)|.+\Z", re.S)
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def box(module_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    providers = {
        usage: {"base_url": module_upstream.url, "any_model": True, "stream_usage": usage} for usage in ("ask", "never")
    }
    breaker = {"consecutive": 100_000, "window_failures": 100_000}
    config = {"store": "none", "providers": providers, "resilience": {"breaker": breaker, "retry": {"attempts": 1}}}
    with signalbox(config, tmp_path_factory.mktemp("box")) as running:
        yield running


@pytest.fixture
def upstream(module_upstream: Upstream) -> Upstream:
    module_upstream.clear()
    return module_upstream


def replay(exchange: Exchange, how: str, rng: Random) -> Script:
    """The recorded answer in pieces."""
    headers = {name.lower(): value for name, value in exchange["response"].get("headers", {}).items()}
    usual = "text/event-stream" if exchange["stream"] else "application/json"
    data = exchanges.answer_of(exchange)

    async def script(wire: Wire) -> None:
        chunked = exchange["stream"] or rng.randrange(2)
        await wire.head(200, headers.get("content-type", usual), length=None if chunked else len(data))
        for piece in exchanges.pieces(data, how, rng):
            await wire.send(piece)
        await wire.end()

    return script


class Passage:
    """One exchange sent through: what left the client, what reached the upstream, and what came back."""

    def __init__(self, http: httpx.Client, box: Running, upstream: Upstream, exchange: Exchange, usage: str) -> None:
        rng = Random(exchange["id"])
        model = f"replay-{exchange['id']}"
        style, how = rng.choice(STYLES), rng.choice(CUTS)
        sent, marked = exchanges.written(exchange["request"]["body"], style, f"{usage}/{model}", rng)
        upstream.script(model, replay(exchange, how, rng))
        headers = {"content-type": "application/json", "authorization": "Bearer client"}
        answer = http.post(f"{box.url}/v1/chat/completions", content=sent, headers=headers)
        self.name = f"{exchange['id']} ({style}, {how})"
        self.stream = bool(exchange["request"]["body"].get("stream"))
        self.asked = bool((exchange["request"]["body"].get("stream_options") or {}).get("include_usage"))
        self.status = answer.status_code
        self.got = answer.content
        self.recorded = exchanges.answer_of(exchange)
        self.wanted = marked.replace(b"\0", json.dumps(model).encode())
        self.arrived = upstream.requests[-1].body if upstream.requests else b""

    @property
    def unchanged(self) -> bool:
        """Every byte in both directions."""
        return self.status == 200 and self.arrived == self.wanted and self.got == self.recorded

    @property
    def faithful(self) -> bool:
        """Nothing but usage, asked for and taken out again."""
        if not self.stream or self.asked:
            return self.unchanged
        return self.status == 200 and _only_usage_asked(self.wanted, self.arrived) and self._only_usage_missing()

    def _only_usage_missing(self) -> bool:
        usage = [event for event in EVENT.findall(self.recorded) if is_usage(event)]
        left = self.recorded.replace(usage[0], b"", 1) if usage else self.recorded
        return len(usage) <= 1 and self.got == left


def is_usage(event: bytes) -> bool:
    """The chunk that `include_usage` brings: usage, and no choices."""
    match = re.match(rb"data: ?(\{.*\})", event)
    value = json.loads(match[1]) if match else {}
    return value.get("choices") == [] and bool(value.get("usage"))


def _only_usage_asked(wanted: bytes, arrived: bytes) -> bool:
    before, after = json.loads(wanted), json.loads(arrived)
    options = before.get("stream_options")
    if after != {**before, "stream_options": {**(options or {}), "include_usage": True}}:
        return False
    if "stream_options" in before:
        return True
    added = b',"stream_options":{"include_usage":true}'
    return arrived.count(added) == 1 and arrived.replace(added, b"") == wanted


def failing(passages: list[Passage], whole: Callable[[Passage], bool]) -> list[str]:
    return [f"{each.name}: {each.status} {each.got[:200]!r}" for each in passages if not whole(each)]


@each_file
def test_recorded_traffic_passes_unchanged(
    http: httpx.Client,
    box: Running,
    upstream: Upstream,
    report: Callable[[str, object], None],
    path: Path,
) -> None:
    found = [each for each in exchanges.read(path) if exchanges.is_chat(each)]

    passages = [Passage(http, box, upstream, each, "never") for each in found]

    assert failing(passages, lambda each: each.unchanged) == []
    assert len(upstream.requests) == len(found)
    report("exchanges", len(found))


@each_file
def test_asking_for_usage_changes_nothing_else(
    http: httpx.Client, box: Running, upstream: Upstream, path: Path
) -> None:
    chats = [each for each in exchanges.read(path) if exchanges.is_chat(each)]
    found = [each for place, each in enumerate(chats) if each["stream"] or place % 5 == 0]  # it concerns streams

    passages = [Passage(http, box, upstream, each, "ask") for each in found]

    assert failing(passages, lambda each: each.faithful) == []


@each_file
def test_a_client_that_did_not_ask_for_usage_does_not_get_it(
    http: httpx.Client, box: Running, upstream: Upstream, path: Path
) -> None:
    streams = [each for each in exchanges.read(path) if exchanges.is_chat(each) and each["stream"]]

    passages = [Passage(http, box, upstream, without_usage(each), "ask") for each in streams]

    assert failing(passages, lambda each: each.faithful) == []


def without_usage(exchange: Exchange) -> Exchange:
    """The same exchange of a client that does not ask for usage."""
    body: dict[str, Any] = {
        name: value for name, value in exchange["request"]["body"].items() if name != "stream_options"
    }
    return {**exchange, "request": {**exchange["request"], "body": body}}


def test_the_real_recordings_are_there() -> None:
    if len(FILES) == 1:
        pytest.skip("no recorded traffic: set SIGNALBOX_RECORDINGS to a folder of it")

    assert sum(len([each for each in exchanges.read(path) if exchanges.is_chat(each)]) for path in FILES[1:]) > 0
