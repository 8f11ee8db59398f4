"""Calls that run in the background, for tests without sockets."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from proxy.core.call import Call
from proxy.surfaces.responses.request import read_response
from proxy.surfaces.responses.surface import RESPONSES
from tests.support.calls import snapshot


def begun_call(number: int, **body: Any) -> Call:
    """A call that asks for a response in the background."""
    raw = json.dumps({"model": "auto", "input": "Hello", "background": True, **body}).encode()
    return read_response(raw, {}, id=f"req_{number}", request_id="theirs", snapshot=snapshot())


def arrival_of(call: Call) -> Any:
    """The arrival of a call."""
    members: dict[str, Any] = {
        "path": "/v1/responses",
        "query": "",
        "address": None,
        "surface": RESPONSES,
        "headers": {},
    }
    return SimpleNamespace(id=call.id, request_id=call.request_id, **members)


def events(*kinds: str) -> bytes:
    """Events of an answer: `completed` and the like have a response object."""
    out = b""
    for number, kind in enumerate(kinds):
        value: dict[str, Any] = {"type": f"response.{kind}", "sequence_number": number}
        if kind in ("created", "in_progress", "completed", "incomplete", "failed"):
            status = "in_progress" if kind == "created" else kind
            value["response"] = {"id": "resp_theirs", "status": status, "output": [], "error": None}
        out += f"event: response.{kind}\ndata: {json.dumps(value)}\n\n".encode()
    return out
