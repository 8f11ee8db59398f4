"""Carriers that a surface cannot open are dropped and named, and never an error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.auth import AuthPolicy
from proxy.core.call import Call
from proxy.core.principal import Identified
from proxy.surfaces.carriers import seal
from proxy.surfaces.generate.signatures import wrapped
from proxy.surfaces.table import SURFACES
from tests.support import calls
from tests.support.loops import CLIENTS, Block, Step

ON = calls.snapshot(auth=AuthPolicy(carrier_keys=(b"n" * 64, b"o" * 64)))
OLD = calls.snapshot(auth=AuthPolicy(carrier_keys=(b"o" * 64,)))
GONE = calls.snapshot(auth=AuthPolicy(carrier_keys=(b"g" * 64,)))
OWN, OTHER = Identified("one", key_id="k", team="t"), Identified("two", key_id="k", team="u")
DETAIL = {"type": "reasoning.text", "text": "Hm.", "signature": "c2ln", "format": "anthropic-claude-v1"}
NAMED = {
    "responses": "input.reasoning",
    "messages": "messages.content.thinking",
    "generate": "contents.thoughtSignature",
}


def sealed(on: Any, by: Identified) -> str:
    call = calls.call(on=on)
    call.principal = by
    return seal(call, "anthropic", {"reasoning_details": [DETAIL]})


def read(surface: str, carrier: str) -> Call:
    """Read the second request of a loop, whose first answer has a carrier."""
    client = CLIENTS[surface]
    if surface == "generate":
        part = {"functionCall": {"id": "c1", "name": "look", "args": {}}, "thoughtSignature": wrapped(carrier)}
        blocks = [Block("call", json.dumps(part), id="c1", name="look")]
    else:
        blocks = [Block("thinking", "Hm.", carrier), Block("call", id="c1", name="look", arguments="{}")]
    raw, path = client.request("Go.", [Step(blocks)], stream=False), client.path(stream=False)
    ids = {"id": "req_1", "request_id": "1"}
    return SURFACES[client.route].read(raw, {}, **ids, snapshot=ON, principal=OWN, path=path, query="")


def details(call: Call) -> Any:
    [answer] = [message for message in call.body["messages"] if message["role"] == "assistant"]
    return answer.get("reasoning_details")


@pytest.mark.parametrize("surface", NAMED)
@pytest.mark.parametrize("on", [ON, OLD], ids=["current key", "previous key"])
def test_own_carriers_are_opened(surface: str, on: Any) -> None:
    call = read(surface, sealed(on, OWN))

    assert details(call) == [DETAIL]
    assert (call.dropped, call.family) == ((), "anthropic")


@pytest.mark.parametrize("surface", NAMED)
@pytest.mark.parametrize(
    "carrier",
    [sealed(ON, OTHER), sealed(GONE, OWN), sealed(ON, OWN)[:-8], "sbx1.", "sbx1.é"],
    ids=["another tenant's", "of a key that is gone", "truncated", "empty", "not ASCII"],
)
def test_other_carriers_are_dropped_and_named(surface: str, carrier: str) -> None:
    call = read(surface, carrier)

    assert details(call) is None
    assert (call.dropped, call.family) == ((NAMED[surface],), None)
    assert call.native is not None
    assert carrier.encode() not in call.native.raw
    assert wrapped(carrier).encode() not in call.native.raw
