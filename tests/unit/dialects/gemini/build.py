"""Calls, targets and answers of the Gemini dialect, for its tests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from proxy.core.call import Call
from proxy.core.model import Deployment, Provider, ProviderKey
from proxy.core.plan import Target
from proxy.core.policies import BreakerPolicy, DeadlinePolicy, RetryPolicy
from proxy.core.recall import Recall
from proxy.core.snapshot import Snapshot
from proxy.dialects.base import Decoder
from proxy.dialects.gemini.dialect import GeminiDialect
from proxy.surfaces.openai.chat import read_chat
from tests.support.fakes import FakeClock

KEY = ProviderKey("main", "AIza-secret")
BASE = "https://generativelanguage.googleapis.com"
SNAPSHOT = Snapshot(
    version="test",
    providers={},
    deployments={},
    left_out={},
    known=frozenset(),
    aliases={},
    tiers={},
    scenarios={},
    default_route=None,
    mode="balanced",
    weights={},
    breaker=BreakerPolicy(),
    retry=RetryPolicy(),
    deadline=DeadlinePolicy(),
)


def dialect(recall: Recall | None = None) -> GeminiDialect:
    clock = FakeClock()
    return GeminiDialect(recall or Recall(clock), clock)


def call(body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Call:
    whole = {"model": "gemini/flash", "messages": [{"role": "user", "content": "Hi"}], **body}
    return read_chat(json.dumps(whole).encode(), headers or {}, id="req_1", request_id="r", snapshot=SNAPSHOT)


def target(*, base_url: str = BASE, overrides: Mapping[str, Any] | None = None, **more: Any) -> Target:
    """A target; `more` goes to the provider where it has such a setting, else to the deployment."""
    settings = {name: more.pop(name) for name in ("vertex", "auth_header", "headers") if name in more}
    settings.setdefault("auth_header", "authorization" if settings.get("vertex") else "x-goog-api-key")
    provider = Provider("gemini", "gemini", base_url, (KEY,), **settings)
    return Target(Deployment(provider, more.pop("model", "gemini-flash"), **more), overrides or {})


def native(body: Mapping[str, Any], **more: Any) -> Any:
    """The native body that a call leads to."""
    return json.loads(dialect().request(call(body), target(**more), KEY).content)


def dropped(body: Mapping[str, Any], **more: Any) -> tuple[str, ...]:
    """What of a call is named as dropped."""
    return dialect().request(call(body), target(**more), KEY).dropped


def decoder(*, stream: bool = True, recall: Recall | None = None, **body: Any) -> Decoder:
    asked = {"stream": True, "stream_options": {"include_usage": True}, **body} if stream else body
    return dialect(recall).decoder(call(asked), target(), {})


def chunk(*parts: Mapping[str, Any], finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    """One answer object with one candidate."""
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": index}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "modelVersion": "gemini-flash-001", "responseId": "abc", **more}


def usage(prompt: int = 5, answer: int = 7, **more: int) -> dict[str, Any]:
    """`usageMetadata`, as a member of an answer object."""
    counts = {"promptTokenCount": prompt, "candidatesTokenCount": answer, **more}
    return {"usageMetadata": {**counts, "totalTokenCount": sum(counts.values())}}


def sse(*values: Mapping[str, Any]) -> bytes:
    """Events as Google writes them."""
    return b"".join(b"data: " + json.dumps(value).encode() + b"\r\n\r\n" for value in values)


def array(*values: Mapping[str, Any]) -> bytes:
    """A stream without `alt=sse`."""
    return ("[" + ",\r\n".join(json.dumps(value, indent=2) for value in values) + "]").encode()


def read(decoder: Decoder, pieces: Iterable[bytes]) -> bytes:
    """The client's bytes."""
    return b"".join([decoder.feed(piece) for piece in pieces]) + decoder.finish()


def events(raw: bytes) -> list[Any]:
    """The events of an OpenAI stream, `[DONE]` as text."""
    lines = [line.removeprefix(b"data: ") for line in raw.split(b"\n\n") if line]
    return [line.decode() if line == b"[DONE]" else json.loads(line) for line in lines]


def deltas(raw: bytes, choice: int = 0) -> list[dict[str, Any]]:
    """The deltas of one choice."""
    chosen = [item for event in events(raw) if isinstance(event, dict) for item in event.get("choices", [])]
    return [item["delta"] for item in chosen if item["index"] == choice]


def message(*values: Mapping[str, Any], recall: Recall | None = None, **body: Any) -> dict[str, Any]:
    """The message of an answer that is not streamed."""
    answer = json.loads(read(decoder(stream=False, recall=recall, **body), [json.dumps(values[0]).encode()]))
    found: dict[str, Any] = answer["choices"][0]["message"]
    return found
