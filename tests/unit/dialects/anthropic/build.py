"""What the tests of the Anthropic dialect share: calls, targets, and answers on the wire."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from proxy.core.call import Call
from proxy.core.failures import UpstreamFailure
from proxy.core.model import Deployment, Provider
from proxy.core.plan import Target
from proxy.core.recall import Recall
from proxy.dialects.anthropic.dialect import AnthropicDialect
from proxy.surfaces.openai.chat import read_chat
from tests.support.breaks import last_event
from tests.support.calls import snapshot
from tests.support.fakes import FakeClock

USER = {"role": "user", "content": "Hello"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
LOW = {"thinking": {"type": "enabled", "budget_tokens": 2048}}
THINKING = {"low": LOW, "high": {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}}


def dialect(recall: Recall | None = None) -> AnthropicDialect:
    clock = FakeClock()
    return AnthropicDialect(recall or Recall(clock), clock)


def target(
    overrides: Mapping[str, Any] | None = None, provider: Mapping[str, Any] | None = None, **members: Any
) -> Target:
    own = {
        "name": "anthropic",
        "dialect": "anthropic",
        "base_url": "https://api.example.com",
        "auth_header": "x-api-key",
    }
    given = {**own, **(provider or {})}
    return Target(Deployment(Provider(**given), "claude-x", **members), overrides or {})


def call(headers: Mapping[str, str] | None = None, **members: Any) -> Call:
    body = {"model": "anthropic/claude-x", "messages": [USER], **members}
    raw = json.dumps(body).encode()
    return read_chat(raw, headers or {}, id="req_abc", request_id="r1", snapshot=snapshot())


def sent(call: Call, target: Target, recall: Recall | None = None) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The native body, and what was dropped."""
    request = dialect(recall).request(call, target, None)
    return json.loads(request.content), request.dropped


def native(**members: Any) -> dict[str, Any]:
    return sent(call(**members), target())[0]


def event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members}, ensure_ascii=False)}\n\n".encode()


def start(**usage: int) -> bytes:
    usage = usage or {"input_tokens": 10, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x-1", "content": []}
    return event("message_start", message={**message, "usage": usage})


def block(index: int, content_block: dict[str, Any], *deltas: dict[str, Any]) -> bytes:
    events = [event("content_block_start", index=index, content_block=content_block)]
    events += [event("content_block_delta", index=index, delta=delta) for delta in deltas]
    return b"".join([*events, event("content_block_stop", index=index)])


def text(index: int, *pieces: str) -> bytes:
    return block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": piece} for piece in pieces))


def tool(index: int, id: str, name: str, *fragments: str) -> bytes:
    given = {"type": "tool_use", "id": id, "name": name, "input": {}}
    return block(index, given, *({"type": "input_json_delta", "partial_json": piece} for piece in fragments))


def stop(reason: str | None = "end_turn", **usage: int) -> bytes:
    usage = usage or {"output_tokens": 7}
    return event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage=usage)


END = event("message_stop")


def message(*content: dict[str, Any], reason: str | None = "end_turn", **members: Any) -> bytes:
    usage = {"input_tokens": 10, "output_tokens": 7}
    whole = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x-1", "content": list(content)}
    return json.dumps({**whole, "stop_reason": reason, "usage": usage, **members}).encode()


def decoded(call: Call, chunks: Iterable[bytes], target: Target | None = None, recall: Recall | None = None) -> bytes:
    """All that the client gets."""
    decoder = dialect(recall).decoder(
        call, target or Target(Deployment(Provider("a", "anthropic", ""), "claude-x")), {}
    )
    out = b"".join([*(decoder.feed(chunk) for chunk in chunks), decoder.finish()])
    return out + last_event(decoder.fault)


def outcome(call: Call, chunks: Iterable[bytes], target: Target) -> bytes | str:
    """All that the client gets, or the kind of the failure before it got anything."""
    decoder = dialect().decoder(call, target, {})
    out = b""
    try:
        for chunk in chunks:
            out += decoder.feed(chunk)
        return out + decoder.finish() + last_event(decoder.fault)
    except UpstreamFailure as failure:
        if not decoder.committed:
            return failure.kind.value
        return out + failure.partial + f"!{failure.kind.value}: {failure}".encode()


def chunks_of(raw: bytes) -> list[dict[str, Any]]:
    """The events of a stream, without its `[DONE]`."""
    events = [item.removeprefix("data: ") for item in raw.decode().split("\n\n") if item]
    return [json.loads(item) for item in events if item != "[DONE]"]


def facts(raw: bytes) -> dict[str, Any]:
    """What an OpenAI client has in the end, of a stream or of a JSON answer: message, finish and usage."""
    if raw.startswith(b"{"):
        whole = json.loads(raw)
        choice = whole["choices"][0]
        kept = {name: value for name, value in choice["message"].items() if value is not None}
        return {"model": whole["model"], "finish": choice["finish_reason"], "usage": whole.get("usage"), **kept}
    found: dict[str, Any] = {"model": None, "finish": None, "usage": None}
    for chunk in chunks_of(raw):
        if "error" in chunk:
            return {**found, "error": chunk["error"]}
        found["model"] = chunk["model"]
        found["usage"] = chunk.get("usage") or found["usage"]
        for choice in chunk["choices"]:
            found["finish"] = choice["finish_reason"] or found["finish"]
            _add(found, choice["delta"])
    return found


def _add(found: dict[str, Any], delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        if name == "tool_calls":
            for piece in value:
                calls = found.setdefault("tool_calls", [])
                if "id" in piece:
                    calls.append(
                        {**{k: v for k, v in piece.items() if k != "index"}, "function": dict(piece["function"])}
                    )
                else:
                    calls[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]
        elif name == "function_call":
            before = found.setdefault(name, {"name": "", "arguments": ""})
            found[name] = {part: before[part] + value.get(part, "") for part in before}
        elif name == "role":
            found[name] = value
        else:
            found[name] = found[name] + value if name in found else value
