"""Every fault of an upstream whose bytes pass through to a client of the same API, wherever it strikes.

Before the commit point a fault is unseen: the next target, of another API and translated, says its whole text. After it
the client gets an error and no end that the upstream did not send. A translated target fails over to a native one too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests.support import upstreams
from tests.support.faults import (
    BAD,
    SECRET,
    Faults,
    after_content,
    after_finish,
    before_content,
    broken_body,
    statuses,
    unanswered,
)
from tests.support.native_clients import ANSWERS, GENERATE, MESSAGES, Client
from tests.support.natives import NativeUpstream, WireFormat
from tests.support.servers import Running, signalbox, without_breakers
from tests.support.upstreams import Script, plain

CLIENTS = (MESSAGES, ANSWERS, GENERATE)
GOOD = upstreams.text_of("good")
PACES = ("fault", "first_token", "idle", "total", "total_stream")
PROVIDERS: dict[str, dict[str, Any]] = {
    "messages": {"dialect": "anthropic"},
    "responses": {"dialect": "openai", "responses": "native"},
    "generate": {"dialect": "gemini"},
    "chat": {"dialect": "openai"},
}
each_client = pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)


def configuration(url: str) -> dict[str, Any]:
    """A provider for each API; the one of chat completions answers in place of the others."""
    keys = [{"id": "main", "value": SECRET}]
    models: list[dict[str, Any]] = []
    scenarios: dict[str, list[str]] = {}
    for name in PROVIDERS:
        models += [{"id": f"{name}/fault"}, {"id": f"{name}/good"}]
        models += [{"id": f"{name}/{pace}", "timeouts": {pace: "250ms"}} for pace in PACES[1:4]]
        models.append({"id": f"{name}/total_stream", "timeouts": {"total": "2s"}})  # for the words to arrive
        scenarios |= {f"{name}-{pace}": [f"{name}/{pace}", "chat/good"] for pace in PACES}
        scenarios[f"to-{name}"] = ["chat/fault", f"{name}/good"]
    base = {name: url if name in ("messages", "generate") else f"{url}/v1" for name in PROVIDERS}
    return {
        "store": "none",
        "auth": {"admin_token": "admin"},
        "providers": {name: {**row, "base_url": base[name], "keys": keys} for name, row in PROVIDERS.items()},
        "models": models,
        "routing": {"scenarios": scenarios},
        "resilience": without_breakers(),
    }


@pytest.fixture(scope="module")
def box(module_natives: NativeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with ExitStack() as stack:
        yield stack.enter_context(signalbox(configuration(module_natives.url), tmp_path_factory.mktemp("box")))


@pytest.fixture
def upstream(module_natives: NativeUpstream, box: Running, http: httpx.Client) -> NativeUpstream:
    """The module's, with nothing left in it, and no key of ours resting."""
    module_natives.clear()
    module_natives.keeps = False  # else the transport may send again what a kept connection lost
    http.post(f"{box.url}/admin/breakers/reset", headers={"authorization": "Bearer admin"}).raise_for_status()
    return module_natives


def cases(*tables: Callable[[WireFormat], Faults]) -> pytest.MarkDecorator:
    """Every fault for one API; for the others those that strike the stream, and take no time."""
    table = {
        f"{client.name}-{name}": (client, *fault)
        for client in CLIENTS
        for each in tables
        for name, fault in each(client.wire_format).items()
        if client is MESSAGES or (fault[0] == "fault" and each in (before_content, after_content, after_finish))
    }
    return pytest.mark.parametrize(("client", "pace", "script", "tries"), table.values(), ids=table.keys())


@cases(statuses, unanswered, before_content)
def test_a_stream_fails_over_unseen_before_the_commit_point(
    http: httpx.Client, box: Running, upstream: NativeUpstream, client: Client, pace: str, script: Script, tries: int
) -> None:
    upstream.script(pace, script)

    seen = client.ask(http, box.url, f"scenario/{client.name}-{pace}", stream=True)

    assert (seen.text, seen.whole, seen.error) == (GOOD, True, None)
    assert upstream.models == [pace] * tries + ["good"]
    assert seen.headers["x-router-provider"] == "chat"


@cases(statuses, unanswered, broken_body)
def test_an_answer_that_is_not_streamed_fails_over_unseen(
    http: httpx.Client, box: Running, upstream: NativeUpstream, client: Client, pace: str, script: Script, tries: int
) -> None:
    upstream.script(pace, script)

    seen = client.ask(http, box.url, f"scenario/{client.name}-{pace}", stream=False)

    assert (seen.text, seen.whole, seen.error) == (GOOD, True, None)
    assert upstream.models == [pace] * tries + ["good"]


@cases(after_content)
def test_a_fault_after_the_commit_point_is_an_error(
    http: httpx.Client,
    box: Running,
    upstream: NativeUpstream,
    access_log: Any,
    client: Client,
    pace: str,
    script: Script,
    tries: int,
) -> None:
    upstream.script(pace, script)

    seen = client.ask(http, box.url, f"scenario/{client.name}-{pace}", stream=True)

    assert seen.error is not None
    assert (seen.status, seen.whole) == (200, False)
    assert seen.text
    assert BAD.startswith(seen.text)
    assert upstream.models == [pace]
    line = access_log.next()
    assert (line["outcome"], line["status"]) == ("partial", 200)


@cases(after_finish)
def test_what_happens_after_the_finish_does_not_matter(
    http: httpx.Client,
    box: Running,
    upstream: NativeUpstream,
    access_log: Any,
    client: Client,
    pace: str,
    script: Script,
    tries: int,
) -> None:
    upstream.script(pace, script)

    seen = client.ask(http, box.url, f"scenario/{client.name}-{pace}", stream=True)

    assert (seen.text, seen.whole, seen.error) == (BAD, True, None)
    assert access_log.next()["outcome"] == "ok"


@each_client
@pytest.mark.parametrize("stream", [True, False])
def test_a_translated_target_fails_over_to_a_native_one(
    http: httpx.Client, box: Running, upstream: NativeUpstream, client: Client, stream: bool
) -> None:
    upstream.script("fault", plain(b"", 500))

    seen = client.ask(http, box.url, f"scenario/to-{client.name}", stream=stream)

    assert (seen.text, seen.whole, seen.error) == (GOOD, True, None)
    assert seen.headers["x-router-provider"] == client.name
    assert seen.raw.startswith(client.wire_format.opening[0] if stream else client.wire_format.body(GOOD))


@each_client
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("status", [400, 413, 429, 500, 529])
def test_the_providers_words_reach_the_client(
    http: httpx.Client, box: Running, upstream: NativeUpstream, client: Client, stream: bool, status: int
) -> None:
    refusal = client.wire_format.refusal(status, f"The words of the provider, to {SECRET}.")
    upstream.script("fault", plain(refusal, status, headers={"retry-after": "60", "set-cookie": "a=b"}))

    seen = client.ask(http, box.url, f"{client.name}/fault", stream=stream)

    assert SECRET.encode() not in seen.raw
    assert "set-cookie" not in seen.headers
    if client.name != "responses":
        assert (seen.status, seen.raw) == (status, refusal.replace(SECRET.encode(), b"***"))
        assert seen.headers["retry-after"] == "60"


@each_client
@pytest.mark.parametrize("status", [401, 403])
def test_a_rejected_key_is_an_error_of_ours_in_the_clients_format(
    http: httpx.Client, box: Running, upstream: NativeUpstream, client: Client, status: int
) -> None:
    upstream.script("fault", plain(client.wire_format.refusal(status, f"invalid x-api-key {SECRET}"), status))

    seen = client.ask(http, box.url, f"{client.name}/fault", stream=True)

    assert seen.status == 502
    assert seen.error is not None
    assert "invalid x-api-key" not in seen.error
    assert "`main`" in seen.error
