"""Recorded traffic of the Messages, Responses and generateContent APIs, unchanged in both directions.

The provider gets the client's bytes but for the value of `model`, and the client the provider's, however a body is
written and however an answer is cut.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random

import httpx
import pytest

from tests.support import exchanges
from tests.support.exchanges import CUTS, STYLES, Exchange
from tests.support.natives import NativeUpstream, replayed
from tests.support.servers import Running, signalbox, without_breakers

FORMATS = {"messages": "anthropic-messages", "responses": "openai-responses", "generate": "gemini-generate"}
SECRET = "sk-provider-0123456789abcdef"
STATE = ("previous_response_id", "conversation", "background", "prompt")  # of the proxy, not of the provider
FILES = {name: exchanges.FOLDER / f"{file}.jsonl" for name, file in FORMATS.items()}
each_recorded = pytest.mark.parametrize("name", [name for name, path in FILES.items() if path.is_file()])


@pytest.fixture(scope="module")
def box(module_natives: NativeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    url = module_natives.url
    common = {"any_model": True, "keys": [{"id": "main", "value": SECRET}]}
    providers = {
        "messages": {"dialect": "anthropic", "base_url": url, **common},
        "responses": {"dialect": "openai", "base_url": f"{url}/v1", "responses": "native", **common},
        "generate": {"dialect": "gemini", "base_url": url, **common},
    }
    config = {"store": "none", "providers": providers, "resilience": without_breakers(attempts=1)}
    with signalbox(config, tmp_path_factory.mktemp("box")) as running:
        yield running


@pytest.fixture
def upstream(module_natives: NativeUpstream) -> NativeUpstream:
    module_natives.clear()
    return module_natives


def recorded(name: str) -> list[Exchange]:
    """Every other exchange that a proxy without a store can relay; `tests/unit/dialects/test_native.py` reads all."""
    found = [each for each in exchanges.read(FILES[name]) if each["method"] == "POST"]
    kept = [each for each in found if not any((each["request"]["body"] or {}).get(member) for member in STATE)]
    assert len(kept) > 100
    return kept[::2]


class Passage:
    """One exchange sent through: what reached the upstream, and what came back."""

    def __init__(
        self,
        http: httpx.Client,
        box: Running,
        upstream: NativeUpstream,
        name: str,
        exchange: Exchange,
        method: str = "",
    ) -> None:
        rng = Random(exchange["id"])
        model = f"replay-{exchange['id']}"
        style, how = rng.choice(STYLES), rng.choice(CUTS)
        self.recorded = exchanges.answer_of(exchange)
        stream = exchange["stream"]
        upstream.script(model, replayed(self.recorded, stream=stream, how=how, rng=rng))
        if name == "generate":
            sent = self.wanted = json.dumps(exchange["request"]["body"], ensure_ascii=False).encode()
            method = exchange["path"].rpartition(":")[2]
            path = f"/v1beta/models/generate/{model}:{method}"
        else:
            sent, marked = exchanges.written(exchange["request"]["body"], style, f"{name}/{model}", rng)
            self.wanted = marked.replace(b"\0", json.dumps(model).encode())
            path = f"/v1/{name}{method}"
        headers = {"content-type": "application/json", "authorization": "Bearer client"}
        answer = http.post(f"{box.url}{path}", content=sent, headers=headers)
        self.name = f"{exchange['id']} ({style}, {how}, {exchange['path']})"
        self.status, self.got = answer.status_code, answer.content
        self.arrived = upstream.requests[-1].body if upstream.requests else b""

    @property
    def unchanged(self) -> bool:
        return self.status == 200 and self.arrived == self.wanted and self.got == self.recorded


@each_recorded
def test_recorded_exchanges_pass_to_the_byte(
    http: httpx.Client, box: Running, upstream: NativeUpstream, name: str
) -> None:
    passages = [Passage(http, box, upstream, name, exchange) for exchange in recorded(name)]

    assert [f"{each.name}: {each.status} {each.got[:200]!r}" for each in passages if not each.unchanged] == []


COUNTS = exchanges.FOLDER / "anthropic-count-tokens.jsonl"


@pytest.mark.skipif(not COUNTS.is_file(), reason="the recordings are not part of the project")
def test_counted_tokens_pass_to_the_byte(http: httpx.Client, box: Running, upstream: NativeUpstream) -> None:
    counted = [each for each in exchanges.read(COUNTS) if each["response"]["status"] == 200]

    passages = [Passage(http, box, upstream, "messages", exchange, "/count_tokens") for exchange in counted]

    assert len(passages) > 3
    assert [f"{each.name}: {each.status} {each.got[:200]!r}" for each in passages if not each.unchanged] == []
