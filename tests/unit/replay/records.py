"""Rows of the ledger for the tests of replay, made by real plans."""

from __future__ import annotations

from typing import Any

import msgspec

from proxy.core.ledger import CallRow
from proxy.core.plan import HealthView
from proxy.replay.recorded import Recorded, recorded
from proxy.routing.plan import plan
from tests.unit.routing.build import call

START = 1_900_000_000  # seconds since 1970, on a full hour


def row(
    model: str = "auto",
    text: str = "hi",
    *,
    at: float = 0.0,
    id: str = "req_1",
    health: HealthView | None = None,
    options: dict[str, Any] | None = None,
    **fields: Any,
) -> CallRow:
    """The row of a call `at` seconds after the start; its first target answered, unless `fields` say otherwise."""
    decision = plan(call(model, text, **(options or {})), health or {}).decision
    provider, _, upstream = str(decision["chosen"]).partition("/")
    values: dict[str, Any] = {
        "provider": provider,
        "upstream_model": upstream,
        "status": 200,
        "attempts": 1,
        "input_tokens": 1_000,
        "output_tokens": 100,
        "cost_nusd": 210_000,
        "ms": 500.0,
        "decision": msgspec.json.encode(dict(decision)),
    }
    return CallRow(
        id=id,
        request_id="r",
        time=int((START + at) * 1e6),
        endpoint="chat",
        model=model,
        route=str(decision["route"]),
        **{**values, **fields},
    )


def rejected(model: str, code: str) -> CallRow:
    """The row of a call that was rejected before it was routed."""
    return CallRow(
        id="req_1",
        request_id="r",
        time=START * 1_000_000,
        endpoint="chat",
        model=model,
        status=404,
        outcome="error",
        code=code,
    )


def a_call(*args: Any, **fields: Any) -> Recorded:
    """The same as a recorded call."""
    return recorded(row(*args, **fields))
