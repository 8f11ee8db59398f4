"""What holds for every Anthropic answer and request, however they are cut and whatever is in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.core.errors import InvalidRequest
from proxy.dialects.anthropic.answer import events_of
from tests.support.fakes import cut
from tests.unit.dialects.anthropic.build import (
    END,
    THINKING,
    USER,
    call,
    decoded,
    event,
    facts,
    message,
    outcome,
    sent,
    start,
    stop,
    target,
    text,
    tool,
)

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
STREAM = {"stream": True, "stream_options": {"include_usage": True}}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
WORDS = [
    "type",
    "text",
    "role",
    "content",
    "name",
    "id",
    "function",
    "arguments",
    "tool_calls",
    "index",
    "delta",
    "url",
]
WORDS += ["image_url", "file", "file_data", "tool_call_id", "function_call", "json_schema", "schema", "properties", "x"]
WORDS += ["partial_json", "input", "content_block", "usage", "stop_reason", "error", "message", "citations", "mode"]
WORDS += ["anyOf", "required", "$defs", "$ref", "parameters", "strict", "allowed_tools", "tools", "cache_control"]
LEAVES: list[Any] = [
    None,
    True,
    0,
    -7,
    1.5,
    "",
    "a",
    "text",
    "tool_use",
    "function",
    "json_schema",
    "object",
    "enabled",
]
LEAVES += ["thinking", "#/$defs/a", "image_url", "allowed_tools", "data:image/png;base64,AA", "redacted_thinking"]
JSON = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=14,
)
OBJECTS = st.dictionaries(st.sampled_from(WORDS), JSON, max_size=5)
KINDS = ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"]
KINDS += ["message_stop", "ping", "error", "unknown"]
ROLES = ["system", "developer", "user", "assistant", "tool", "function"]


@st.composite
def blocks(draw: st.DrawFn) -> list[dict[str, Any]]:
    """The content of a message."""
    kinds = draw(st.lists(st.sampled_from(["text", "tool_use", "thinking", "server_tool_use"]), max_size=5))
    made: list[dict[str, Any]] = []
    for place, kind in enumerate(kinds):
        if kind == "text":
            made.append({"type": kind, "text": draw(TEXTS)})
        elif kind == "thinking":
            made.append({"type": kind, "thinking": draw(TEXTS), "signature": f"s{place}"})
        else:
            arguments = draw(st.dictionaries(TEXTS, TEXTS | st.integers(), max_size=3))
            made.append({"type": kind, "id": f"toolu_{place}", "name": "f", "input": arguments})
    return made


@st.composite
def wires(draw: st.DrawFn) -> bytes:
    """A stream: a good one, one that breaks off, or one with odd events in it."""
    pieces = [start()]
    for place, piece in enumerate(draw(st.lists(TEXTS, max_size=4))):
        pieces.append(tool(place, f"t{place}", "f", json.dumps({"a": piece})) if place % 2 else text(place, piece))
    pieces += [stop("tool_use"), END]
    for _ in range(draw(st.integers(0, 3))):
        odd = event(draw(st.sampled_from(KINDS)), **{**draw(OBJECTS), "type": draw(st.sampled_from(KINDS))} | {})
        pieces.insert(draw(st.integers(0, len(pieces))), odd)
    wire = b"".join(pieces)
    return wire[: draw(st.integers(0, len(wire)))] if draw(st.booleans()) else wire


def sizes(draw: Any) -> Iterator[int]:
    return iter(draw(st.lists(st.integers(1, 40), max_size=200)))


@given(wires(), st.booleans(), st.data())
@unhurried
def test_what_the_client_gets_does_not_depend_on_the_cuts(wire: bytes, stream: bool, data: st.DataObject) -> None:
    request = call(**(STREAM if stream else {}))

    whole = outcome(request, [wire], target())
    pieces = outcome(request, cut(wire, sizes(data.draw)), target())
    bytewise = outcome(request, [bytes([byte]) for byte in wire], target())

    assert whole == pieces == bytewise


@given(blocks(), st.sampled_from(["end_turn", "tool_use", "max_tokens", "refusal", "pause_turn"]))
@unhurried
def test_both_forms_of_an_answer_give_the_same_facts(content: list[dict[str, Any]], reason: str) -> None:
    raw = message(*content, reason=reason)
    events = b"".join(event(one["type"], **one) for one in events_of(json.loads(raw)))

    whole = facts(decoded(call(), [raw]))
    streamed = facts(decoded(call(**STREAM), [events]))

    assert {**streamed, "content": streamed.get("content") or None} == {
        **whole,
        "content": whole.get("content") or None,
    }


@given(st.binary(max_size=300) | st.lists(JSON, max_size=5), st.booleans(), st.data())
@unhurried
def test_garbage_raises_nothing_but_our_own_failure(
    given: bytes | list[Any], stream: bool, data: st.DataObject
) -> None:
    if isinstance(given, list):
        events = [
            event(data.draw(st.sampled_from(KINDS)), **one) if isinstance(one, dict) and "type" not in one else one
            for one in given
        ]
        given = b"".join(
            one if isinstance(one, bytes) else b"data: " + json.dumps(one).encode() + b"\n\n" for one in events
        )

    outcome(call(**(STREAM if stream else {})), cut(given, sizes(data.draw)), target())


@given(
    st.lists(
        st.builds(lambda role, rest: {**rest, "role": role}, st.sampled_from(ROLES), OBJECTS), min_size=1, max_size=5
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "tools": st.lists(OBJECTS, max_size=3),
            "functions": st.lists(OBJECTS, max_size=3),
            "tool_choice": st.sampled_from(["auto", "required", "odd"]) | OBJECTS,
            "function_call": JSON,
            "response_format": OBJECTS,
            "reasoning_effort": JSON,
            "thinking": JSON,
            "stop": st.lists(TEXTS, max_size=2),
            "modalities": JSON,
            "audio": JSON,
            "logit_bias": JSON,
        },
    ),
    st.booleans(),
)
@unhurried
def test_an_odd_request_is_translated_or_refused(messages: list[Any], members: dict[str, Any], able: bool) -> None:
    capabilities = frozenset({"json_schema"}) if able else None
    known = target(capabilities=capabilities, thinking=THINKING, provider={"prompt_cache": "auto"})
    try:
        asked = call(messages=[USER, *messages], **members)
        body, dropped = sent(asked, known)
    except InvalidRequest:
        return

    assert body["messages"]
    assert len(set(dropped)) == len(dropped)


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 3), st.permutations([0, 1, 2])), min_size=1, max_size=4))
@unhurried
def test_every_call_has_its_result_first_in_the_next_turn(rounds: list[Any]) -> None:
    messages: list[Any] = [USER]
    for loses, count, order in rounds:
        calls = [
            {"id": f"c{n}", "type": "function", "function": {"name": "f", "arguments": "{}"}} for n in range(count)
        ]
        messages.append({"role": "assistant", "tool_calls": calls})
        given = [{"role": "tool", "tool_call_id": f"c{n}", "content": f"r{n}"} for n in order if n < count]
        messages += given[1:] if loses else given

    turns = sent(call(messages=messages), target())[0]["messages"]

    used = [[block["id"] for block in turn["content"] if block["type"] == "tool_use"] for turn in turns[1::2]]
    answered = [[block.get("tool_use_id") for block in turn["content"]] for turn in turns[2::2]]
    assert [ids[: len(calls)] for ids, calls in zip(answered, used, strict=True)] == used
    assert len({id for ids in used for id in ids}) == sum(map(len, used))
