"""Calls whose clients speak the API of a provider, and targets for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from proxy.core.body import parse
from proxy.core.call import Call, NativeRequest
from proxy.core.dialects import DialectName, NativeFormat
from proxy.core.model import Deployment
from proxy.core.snapshot import Snapshot
from tests.support import calls

DIALECTS: Mapping[NativeFormat, DialectName] = {"messages": "anthropic", "responses": "openai", "generate": "gemini"}
BODIES: Mapping[NativeFormat, dict[str, Any]] = {
    "messages": {"model": "auto", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]},
    "responses": {"model": "auto", "input": "Hello"},
    "generate": {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]},
}


def native_call(
    format: NativeFormat,
    raw: bytes | None = None,
    *,
    stream: bool = False,
    on: Snapshot | None = None,
    body: Mapping[str, Any] | None = None,
    headers: dict[str, str] | None = None,
    **fields: Any,
) -> Call:
    """A call with `raw` as the client's own body; `body` are members of the chat body, `fields` of the native one."""
    chat = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}], "stream": stream, **(body or {})}
    call = calls.call(json.dumps(chat).encode(), on=on, headers=headers)
    raw = json.dumps({**BODIES[format], **({"stream": True} if stream else {})}).encode() if raw is None else raw
    if format == "generate":
        operation = "streamGenerateContent" if stream else "generateContent"
        fields = {"operation": operation, "query": "alt=sse" if stream else "", **fields}
    return replace(call, native=NativeRequest(format, raw, parse(raw).spans, **fields), usage_asked=True)


def native_target(format: NativeFormat, name: str = "a", model: str = "m", **fields: Any) -> Deployment:
    """A deployment at a provider that speaks the format."""
    own = {"responses": "native"} if format == "responses" else {}
    provider = calls.provider(name, dialect=DIALECTS[format], **own, **cast("dict[str, Any]", fields.pop("of", {})))
    return calls.deployment(model, provider, **fields)
