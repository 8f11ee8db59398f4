"""Google's surface: any body is read or refused by name, and any order of deltas gives a legal answer."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.auth import AuthPolicy
from proxy.core.call import Call
from proxy.core.errors import InvalidRequest
from proxy.core.principal import UNKNOWN_CALLER
from proxy.core.record import Record, Timings
from proxy.surfaces.generate.surface import EMBEDDINGS, GENERATE
from tests.support.calls import deployment, snapshot

NAMES = [
    "contents",
    "role",
    "parts",
    "text",
    "thought",
    "thoughtSignature",
    "inlineData",
    "mimeType",
    "data",
    "fileData",
    "fileUri",
    "functionCall",
    "name",
    "args",
    "id",
    "functionResponse",
    "response",
    "systemInstruction",
    "tools",
    "functionDeclarations",
    "parameters",
    "parametersJsonSchema",
    "type",
    "items",
    "properties",
    "nullable",
    "toolConfig",
    "functionCallingConfig",
    "mode",
    "allowedFunctionNames",
    "generationConfig",
    "maxOutputTokens",
    "temperature",
    "stopSequences",
    "thinkingConfig",
    "thinkingBudget",
    "thinkingLevel",
    "responseMimeType",
    "responseSchema",
    "requests",
    "content",
    "outputDimensionality",
    "generateContentRequest",
    "google_search",
    "executable_code",
]
WORDS = [
    "user",
    "model",
    "ANY",
    "OBJECT",
    "application/json",
    "image/png",
    "AAAA",
    "c2J4MS4x",
    "HIGH",
    "gs://a",
    "\ud800",
]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.sampled_from(WORDS) | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=25,
)
BODIES = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8)
PARTS = st.fixed_dictionaries(
    {},
    optional={
        "text": SCALARS,
        "thoughtSignature": SCALARS,
        "functionCall": st.fixed_dictionaries(
            {"name": st.sampled_from(["a", "b"])}, optional={"args": VALUES, "id": SCALARS}
        ),
        "functionResponse": st.fixed_dictionaries({"name": st.sampled_from(["a", "b"])}, optional={"response": VALUES}),
    },
)
CONTENTS = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "model"]), "parts": st.lists(PARTS, max_size=3)}),
    max_size=5,
)
CALLS = st.fixed_dictionaries(
    {
        "index": st.integers(0, 2),
        "function": st.fixed_dictionaries({"arguments": st.sampled_from(["", "{", "}", '"a":1'])}),
    },
    optional={"id": st.sampled_from(["c1", "c2"])},
)
DELTAS = st.fixed_dictionaries(
    {},
    optional={
        "role": st.just("assistant"),
        "content": st.none() | st.text(max_size=5),
        "reasoning_content": st.text(max_size=5),
        "refusal": st.none() | st.text(max_size=3),
        "tool_calls": st.lists(CALLS, max_size=2),
        "reasoning_details": st.just([{"type": "reasoning.text", "text": "a", "signature": "b", "index": 0}]),
    },
)
CHOICES = st.fixed_dictionaries(
    {"index": st.integers(0, 1), "delta": DELTAS}, optional={"finish_reason": st.sampled_from([None, "stop", "length"])}
)
POLICY = AuthPolicy(carrier_keys=(b"k" * 64,))


def read(body: Any, operation: str = "streamGenerateContent", query: str = "alt=sse") -> Call:
    surface = EMBEDDINGS if "mbed" in operation else GENERATE
    return surface.read(
        json.dumps(body).encode(),
        {},
        id="req_1",
        request_id="theirs",
        snapshot=snapshot(auth=POLICY),
        principal=UNKNOWN_CALLER,
        path=f"/v1beta/models/auto:{operation}",
        query=query,
    )


def named(refusal: InvalidRequest) -> bool:
    return refusal.param is not None or "body" in str(refusal)


def read_or_refused(body: Any, operation: str) -> None:
    refusal = None
    try:
        call = read(body, operation)
    except InvalidRequest as error:
        refusal = error
    if refusal is not None:
        assert named(refusal)
        return
    canonical = json.loads(call.raw)
    assert canonical["model"] == "auto"
    assert all(isinstance(message["role"], str) for message in canonical.get("messages", ()))
    assert call.raw.startswith(b'{"model":"auto"')


@given(BODIES, st.sampled_from(["generateContent", "countTokens", "embedContent", "batchEmbedContents"]))
@settings(max_examples=100, deadline=None)
def test_any_body_is_read_or_refused_by_name(body: dict[str, Any], operation: str) -> None:
    read_or_refused(body, operation)


@given(CONTENTS)
@settings(max_examples=100, deadline=None)
def test_any_history_is_read_or_refused_by_name(contents: list[dict[str, Any]]) -> None:
    read_or_refused({"contents": contents}, "generateContent")


@given(st.lists(CHOICES, max_size=8), st.booleans(), st.data())
@settings(max_examples=100, deadline=None)
def test_any_order_of_deltas_gives_a_legal_answer(
    choices: list[dict[str, Any]], array: bool, data: st.DataObject
) -> None:
    call = read({"contents": [{"parts": [{"text": "Hi"}]}]}, query="" if array else "alt=sse")
    raw = b"".join(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n" for choice in choices)
    cuts = data.draw(st.lists(st.integers(0, len(raw)), max_size=4).map(sorted))

    out = encoded(call, [raw])

    assert encoded(call, [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]) == out
    objects = json.loads(out) if array else [json.loads(event[6:]) for event in out.split(b"\r\n\r\n") if event]
    candidates = [candidate for each in objects for candidate in each["candidates"]]
    assert all("finishReason" not in candidate for each in objects[:-1] for candidate in each["candidates"])
    assert all("finishReason" in candidate for candidate in objects[-1]["candidates"])
    assert {candidate["index"] for candidate in candidates} == {choice["index"] for choice in choices} or not choices
    parts = [part for candidate in candidates for part in candidate["content"]["parts"]]
    assert all(isinstance(part["functionCall"]["args"], dict) for part in parts if "functionCall" in part)
    texts = [choice["delta"].get(name) or "" for choice in choices for name in ("content", "refusal")]
    assert sorted("".join(part.get("text", "") for part in parts)) == sorted("".join(texts))


def encoded(call: Call, pieces: list[bytes]) -> bytes:
    record = Record("req_1", "theirs", Timings(1000.0))
    record.chosen = deployment()
    encoder = GENERATE.encoder(call, record, "text/event-stream", native=False)
    assert encoder is not None
    return b"".join([encoder.feed(piece) for piece in pieces]) + encoder.finish()
