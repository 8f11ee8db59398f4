"""Calls that only ask for the tokens of an input."""

from __future__ import annotations

import json
from typing import Any

from proxy.core.principal import UNKNOWN_CALLER
from proxy.surfaces.responses.input_tokens import INPUT_TOKENS
from tests.support.calls import snapshot


def test_call_counts_its_input_and_its_history() -> None:
    raw = json.dumps({"model": "auto", "input": "Hello", "previous_response_id": "resp_0", "store": True}).encode()
    arrival: Any = {"id": "req_1", "request_id": "r", "snapshot": snapshot(), "principal": UNKNOWN_CALLER}

    call = INPUT_TOKENS.read(raw, {}, **arrival, path="", query="")
    assert call.turn is not None
    whole = call.turn.complete([{"type": "message", "role": "user", "content": "Earlier"}])

    assert (call.turn.store, call.native, whole.native) == (False, None, None)
    assert call.endpoint == whole.endpoint == "count_tokens"
    assert [message["content"] for message in whole.body["messages"]] == ["Earlier", "Hello"]
    assert whole.count is not None
    assert json.loads(whole.count(42)) == {"object": "response.input_tokens", "input_tokens": 42}
