"""The Responses API over real sockets: the SDK, Signalbox and a scripted provider."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.servers import Running, signalbox, without_breakers
from tests.support.upstreams import Upstream

WEBSOCKET = {
    "connection": "upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "eA==",
}


def configuration(url: str) -> dict[str, Any]:
    return {
        "store": "none",
        "providers": {"p": {"base_url": url, "any_model": True}, "q": {"base_url": url, "any_model": True}},
        "models": [{"id": "p/a"}, {"id": "q/good"}],
        "routing": {"scenarios": {"both": ["p/a", "q/good"]}},
        "resilience": without_breakers(),
    }


@pytest.fixture(scope="module")
def box(module_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with signalbox(configuration(module_upstream.url), tmp_path_factory.mktemp("box")) as running:
        yield running


@pytest.fixture
def upstream(module_upstream: Upstream) -> Upstream:
    module_upstream.clear()
    return module_upstream


def test_websocket_handshake_is_refused_so_that_clients_use_http(box: Running) -> None:
    answer = httpx.get(f"{box.url}/v1/responses", headers=WEBSOCKET)

    assert answer.status_code == 426
    assert answer.json()["error"]["code"] == "websocket_not_supported"


def test_plain_get_is_a_method_that_the_path_does_not_support(box: Running) -> None:
    answer = httpx.get(f"{box.url}/v1/responses")

    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
