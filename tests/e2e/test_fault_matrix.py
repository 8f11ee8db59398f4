"""Every fault of an upstream at every point where it can strike, as the OpenAI SDK sees it through Signalbox.

Before the commit point a fault is unseen: the next target's whole text arrives, and nothing of the first one's. After
it the SDK raises. A short text that looks whole never arrives, and Signalbox's record agrees with the upstream's log.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import openai
import pytest

from tests import upstreams
from tests.servers import Running, signalbox
from tests.upstreams import DONE, FINISH, ROLE, Script, Upstream, Wire, chunk, event, plain, raw, stream, words

SECRET = "sk-provider-0123456789abcdef"
MESSAGES: Any = [{"role": "user", "content": "Say the words."}]
GOOD = upstreams.text_of("good")
BAD = words("BAD")
HALF_EVENT = BAD[0][: len(BAD[0]) // 2]
HTML = b"<!doctype html><html><body><h1>502 Bad Gateway</h1></body></html>"
NOT_JSON = b"data: {this is not JSON}\n\n"
ERROR_EVENT = event(upstreams.error("injected in the stream"))
OVERLOADED = event(upstreams.error("Overloaded", kind="overloaded_error"))
ANSWER = json.dumps(upstreams.completion("BAD0 BAD1 BAD2 ")).encode()
ERROR_BODY = json.dumps(upstreams.error("injected in a 200")).encode()


def stalling(pace: str) -> dict[str, Any]:
    """A model whose one timeout is short."""
    return {"id": f"bad/{pace}", "timeouts": {pace: "250ms"}}


def configuration(url: str, nowhere: str) -> dict[str, Any]:
    """Providers that fail in turn, and one that does not; breakers that never open, since each test is its own story."""
    keys = [{"id": "main", "value": SECRET}]
    paces = ("fault", "first_token", "idle", "total")
    return {
        "store": "none",
        "auth": {"admin_token": "admin"},
        "providers": {
            "bad": {"base_url": url, "keys": keys},
            "nowhere": {"base_url": nowhere, "keys": keys},
            "good": {"base_url": url, "keys": keys},
        },
        "models": [
            {"id": "bad/fault"},
            {"id": "nowhere/fault"},
            *(stalling(pace) for pace in paces[1:]),
            {"id": "good/good"},
        ],
        "routing": {
            "scenarios": {
                **{pace: [f"bad/{pace}", "good/good"] for pace in paces},
                "nowhere": ["nowhere/fault", "good/good"],
            }
        },
        "resilience": {
            "breaker": {"consecutive": 100_000, "window_failures": 100_000},
            "retry": {"backoff": "1ms", "max_backoff": "1ms"},
        },
    }


@pytest.fixture(scope="module")
def box(module_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with ExitStack() as stack:
        nowhere = stack.enter_context(upstreams.refusing())
        config = configuration(module_upstream.url, nowhere)
        yield stack.enter_context(signalbox(config, tmp_path_factory.mktemp("box")))


@pytest.fixture(scope="module")
def sdk(box: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{box.url}/v1", api_key="sb-client", max_retries=0) as client:
        yield client


@pytest.fixture
def upstream(module_upstream: Upstream, box: Running) -> Upstream:
    """The module's, with nothing left in it, and no key of ours resting."""
    module_upstream.clear()
    httpx.post(f"{box.url}/admin/breakers/reset", headers={"authorization": "Bearer admin"}).raise_for_status()
    return module_upstream


def streamed(client: openai.OpenAI, model: str, seen: list[str], **more: Any) -> Any:
    """Stream; every piece of text goes into `seen` as it comes. The last finish reason, and the answer's headers."""
    answer = client.chat.completions.with_raw_response.create(model=model, messages=MESSAGES, stream=True, **more)
    finish = None
    for part in answer.parse():
        for choice in part.choices:
            seen.append(choice.delta.content or "")
            finish = choice.finish_reason or finish
    return finish, answer.headers


def asked(client: openai.OpenAI, model: str) -> Any:
    """Ask without streaming; the text, and the answer's headers."""
    answer = client.chat.completions.with_raw_response.create(model=model, messages=MESSAGES)
    return answer.parse().choices[0].message.content, answer.headers


# Faults: what the first target does, the model (whose timeouts matter where it stalls), and whether one more try at the
# same target is worth it.

STATUSES: dict[str, tuple[str, Script, bool]] = {
    "status 500": ("fault", upstreams.refuse(500), True),
    "status 502 in HTML": ("fault", plain(HTML, 502, "text/html"), True),
    "status 503": ("fault", upstreams.refuse(503), True),
    "status 529": ("fault", upstreams.refuse(529), True),
    "status 429": ("fault", upstreams.refuse(429, headers={"retry-after": "7"}), False),
    "status 401": ("fault", upstreams.refuse(401, f"Incorrect API key provided: {SECRET}."), False),
    "status 403": ("fault", upstreams.refuse(403, f"Key {SECRET} may not."), False),
    "status 404": ("fault", upstreams.refuse(404, code="model_not_found"), False),
    "status 408": ("fault", upstreams.refuse(408), False),
    "status 302": ("fault", plain(b"", 302, headers={"location": "http://127.0.0.1:9/"}), True),
    "status 500 without a body": ("fault", plain(b"", 500), True),
}

UNANSWERED: dict[str, tuple[str, Script, bool]] = {
    "dropped": ("fault", upstreams.drop, True),
    "reset before the head": ("fault", upstreams.reset, True),
    "head cut off": ("fault", raw(b"HTTP/1.1 200 OK\r\ncontent-ty"), True),
    "head reset": ("fault", raw(b"HTTP/1.1 200 OK\r\ncontent-ty", Wire.reset), True),
    "no HTTP": ("fault", raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), True),
}

NO_ANSWER_IN_200: dict[str, tuple[str, Script, bool]] = {
    "empty body": ("fault", plain(b""), False),
    "empty chunked body": ("fault", stream([]), False),
    "HTML in a 200": ("fault", plain(HTML, content_type="text/html"), False),
    "JSON error in a 200": ("fault", plain(ERROR_BODY), True),
    "JSON without an answer": ("fault", plain(b'{"status":"ok"}'), False),
    "half a JSON text": ("fault", plain(ANSWER[:80]), False),
    "unknown encoding": ("fault", plain(b"\x28\xb5\x2f\xfd", headers={"content-encoding": "zstd"}), False),
    "gzip that is none": ("fault", plain(ANSWER, headers={"content-encoding": "gzip"}), False),
}

BEFORE_COMMIT: dict[str, tuple[str, Script, bool]] = {
    **STATUSES,
    **UNANSWERED,
    **NO_ANSWER_IN_200,
    "stall before the head": ("first_token", upstreams.stall, False),
    "stall after the head": ("first_token", stream([], Wire.stall), False),
    "stall after the role": ("first_token", stream([ROLE], Wire.stall), False),
    "keep-alives for ever": ("first_token", upstreams.endless(b": keep-alive\n\n"), False),
    "keep-alives after the role": (
        "first_token",
        upstreams.then(stream([ROLE], _nothing := upstreams.idle), upstreams.endless(b": keep-alive\n\n")),
        False,
    )
    if hasattr(upstreams, "idle")
    else ("first_token", stream([ROLE, b": keep-alive\n\n"], Wire.stall), False),
}
