"""The endpoint that lets providers fail, behind a small application of its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from proxy.core.snapshot import Live
from proxy.upstream.simulate import Simulator
from tests.support.calls import deployment, live, provider
from tests.unit.admin.context import context, serving

pytestmark = pytest.mark.anyio

BODY = {"provider": "acme", "model": "small", "kind": "error", "seconds": 30, "rate": 0.5}


@dataclass
class Box:
    """The endpoint under a client with the admin token."""

    client: httpx.AsyncClient
    simulator: Simulator
    live: Live

    async def post(self, body: Any, token: str = "secret") -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {token}"}
        return await self.client.post("/admin/simulate/failure", content=content, headers=headers)


@pytest.fixture
async def box() -> AsyncIterator[Box]:
    config = live(deployment(), deployment(of=provider("open", any_model=True)), testing=True)
    of = context(config)
    async with serving(of) as client:
        yield Box(client, of.simulator, config)


async def test_a_failure_begins_and_is_told(box: Box) -> None:
    answer = await box.post(BODY)

    row = {"provider": "acme", "model": "small", "kind": "error", "rate": 0.5, "seconds_left": 30.0}
    assert (answer.status_code, answer.json()) == (200, {"active": [row]})
    assert box.simulator.rows() == [row]


async def test_no_seconds_end_it(box: Box) -> None:
    await box.post(BODY)

    assert (await box.post(BODY | {"seconds": 0})).json() == {"active": []}


async def test_all_models_always_is_the_default(box: Box) -> None:
    answer = await box.post({"provider": "acme", "kind": "cut", "seconds": 1.5})

    assert answer.json()["active"][0].items() >= {"model": None, "rate": 1.0}.items()


async def test_a_model_that_any_client_may_name_may_fail(box: Box) -> None:
    assert (await box.post(BODY | {"provider": "open", "model": "whatever"})).status_code == 200


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"provider": "nobody"}, "provider"),
        ({"provider": 5}, "provider"),
        ({"model": "acme/small"}, "model"),
        ({"kind": "flood"}, "kind"),
        ({"seconds": -1}, "seconds"),
        ({"seconds": 1e9}, "seconds"),
        ({"seconds": "30"}, "seconds"),
        ({"rate": 1.5}, "rate"),
        ({"color": "red"}, "color"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_name(box: Box, change: dict[str, Any], param: str) -> None:
    answer = await box.post(BODY | change)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert box.simulator.rows() == []


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b"[1]", b"null", b"[" * 100_000, b'{"rate": NaN}'])
async def test_a_body_that_is_none_is_refused(box: Box, body: bytes) -> None:
    answer = await box.post(body)

    assert answer.status_code == 400
    assert "failurebody" not in answer.text.lower()


async def test_without_testing_it_is_not_there(box: Box) -> None:
    box.live.snapshot = replace(box.live.snapshot, testing=False)

    assert (await box.post(BODY)).status_code == 404
    assert box.simulator.rows() == []


async def test_without_the_token_nobody_learns_whether_it_is_there(box: Box) -> None:
    for testing in (True, False):
        box.live.snapshot = replace(box.live.snapshot, testing=testing)
        assert (await box.post(BODY, token="wrong")).status_code == 401
