"""One well-formed Host, or nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from proxy.http.browsers import Browsers
from proxy.http.cors import Cors
from proxy.http.exchange import Ids
from proxy.http.guard import Guard

pytestmark = pytest.mark.anyio


async def sent(hosts: list[bytes], kind: str = "http") -> tuple[bool, list[Message]]:
    """Whether the request got through, and what was answered."""
    passed = False
    answers: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal passed
        passed = True

    async def receive() -> Message:
        raise AssertionError("the body is not needed")

    async def send(message: Message) -> None:
        answers.append(message)

    headers = [(b"accept", b"*/*"), *((b"host", host) for host in hosts)]
    scope = {"type": kind, "headers": headers, "http_version": "1.1", "scheme": "http", "method": "POST", "path": "/"}
    await Guard(app, Ids(), Browsers())(scope, receive, send)
    return passed, answers


@pytest.mark.parametrize(
    "host", [b"localhost", b"api.example.com:8080", b"127.0.0.1:1", b"[::1]:8080", b"[::ffff:1.2.3.4]", b"a_b", b"X-1"]
)
async def test_one_well_formed_host_passes(host: bytes) -> None:
    assert await sent([host]) == (True, [])


@pytest.mark.parametrize(
    ("hosts", "said"),
    [
        ([], "is missing"),
        ([b"a", b"a"], "is repeated"),
        ([b"a", b"b", b"c"], "is repeated"),
        ([b""], "is malformed"),
        ([b"a b"], "is malformed"),
        ([b"a,b"], "is malformed"),
        ([b"user@a"], "is malformed"),
        ([b"a/b"], "is malformed"),
        ([b"a:port"], "is malformed"),
        ([b"a:"], "is malformed"),
        ([b"a:123456"], "is malformed"),
        ([b"::1"], "is malformed"),
        ([b"[::1"], "is malformed"),
        ([b"[x]"], "is malformed"),
        ([b"a\n"], "is malformed"),
        ([b"\xff"], "is malformed"),
    ],
)
async def test_any_other_is_refused_in_openai_s_shape(hosts: list[bytes], said: str) -> None:
    passed, (start, body) = await sent(hosts)

    error: dict[str, Any] = json.loads(body["body"])["error"]
    assert not passed
    assert start["status"] == 400
    assert (error["type"], error["param"]) == ("invalid_request_error", "host")
    assert said in error["message"]


async def test_what_is_no_http_passes() -> None:
    assert await sent([], "lifespan") == (True, [])


@pytest.mark.parametrize(
    ("headers", "accepted"),
    [
        ([(b"host", b"a:80")], {"a:80"}),
        ([(b"host", b"a:80"), (b"origin", b"http://a:80")], set()),
        ([(b"host", b"a b")], set()),
    ],
)
async def test_hosts_of_accepted_clients_need_no_guard(headers: list[tuple[bytes, bytes]], accepted: set[str]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    async def receive() -> Message:
        raise AssertionError("the body is not needed")

    async def send(message: Message) -> None:
        pass

    guard = Guard(app, Ids(), Browsers(), Cors([], 600.0))
    scope = {"type": "http", "headers": headers, "http_version": "1.1", "scheme": "http", "method": "POST", "path": "/"}
    await guard(scope, receive, send)

    assert (guard.direct.hosts, guard.direct.headers) == (accepted, b"vary: Origin\r\n")


async def test_host_that_was_accepted_does_not_excuse_others() -> None:
    passed: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope["path"])

    async def receive() -> Message:
        raise AssertionError("the body is not needed")

    async def send(message: Message) -> None:
        pass

    guard, host = Guard(app, Ids(), Browsers()), (b"host", b"a")
    requests: dict[str, tuple[str, list[tuple[bytes, bytes]]]] = {
        "/old": ("1.0", []),
        "/first": ("1.1", [host]),
        "/again": ("1.1", [host, (b"accept", b"*/*")]),
        "/without": ("1.1", []),
        "/twice": ("1.1", [host, host]),
        "/browser": ("1.1", [host, (b"origin", b"https://evil.example")]),
        "/site": ("1.1", [(b"sec-fetch-site", b"cross-site"), host]),
    }
    for path, (version, headers) in requests.items():
        scope = {"type": "http", "headers": headers, "http_version": version, "scheme": "http", "method": "POST"}
        await guard({**scope, "path": path}, receive, send)

    assert passed == ["/old", "/first", "/again"]
