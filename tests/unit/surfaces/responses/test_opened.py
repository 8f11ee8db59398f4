"""Inputs for targets with a Responses API of their own, without our carriers."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.body import parse
from proxy.core.call import NativeRequest
from proxy.core.json_text import compact
from proxy.surfaces.carriers import Carried
from proxy.surfaces.responses.opened import native_family, opened

USER = {"type": "message", "role": "user", "content": "Hi"}
OURS = {"type": "reasoning", "summary": [], "encrypted_content": "sbx1.known"}
THEIRS = {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"}


def unseal(text: str) -> Carried | None:
    return Carried("openai", "", {"summary": "So far."}) if text == "sbx1.known" else None


def summary_of(carried: Carried) -> str | None:
    return carried.members["summary"] if "compacted" in carried.members else None


def native(*items: Any) -> NativeRequest:
    raw = compact({"model": "m", "input": list(items), "store": False})
    return NativeRequest("responses", raw, parse(raw).spans)


def read(*items: Any) -> Any:
    request = native(*items)
    changed = opened(request, list(items), unseal, summary_of)
    assert changed.spans == parse(changed.raw).spans
    return parse(changed.raw).body["input"]


def test_a_foreign_input_is_the_same_request() -> None:
    request = native(USER, THEIRS)

    assert opened(request, [USER, THEIRS], unseal, summary_of) is request


def test_an_input_of_text_is_the_same_request() -> None:
    raw = compact({"input": "What is sbx1.known?"})
    request = NativeRequest("responses", raw, parse(raw).spans)

    assert opened(request, "What is sbx1.known?", unseal, summary_of) is request


def test_sealed_reasoning_is_left_out() -> None:
    assert read(USER, OURS, THEIRS, {**OURS, "encrypted_content": "sbx1.unknown"}) == [USER, THEIRS]


def test_our_compaction_becomes_a_message() -> None:
    request = native({"type": "compaction", "encrypted_content": "sbx1.known"}, USER)
    items = parse(request.raw).body["input"]

    changed = opened(request, items, unseal, lambda carried: carried.members["summary"])

    assert parse(changed.raw).body["input"] == [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "So far."}]},
        USER,
    ]


def test_only_the_input_changes() -> None:
    changed = opened(native(OURS), [OURS], unseal, summary_of)

    assert changed.raw == b'{"model":"m","input":[],"store":false}'


OUTPUT = {"type": "function_call_output", "call_id": "c", "output": ""}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
SAID = {"type": "message", "role": "assistant", "content": "Hm."}


@pytest.mark.parametrize(
    ("items", "family"),
    [
        ([USER, THEIRS, CALL, OUTPUT], "openai"),
        ([USER, THEIRS, SAID, CALL, OUTPUT, CALL, OUTPUT], "openai"),
        ([USER, OURS, CALL, OUTPUT], None),
        ([USER, THEIRS, CALL, OUTPUT, OURS, CALL, OUTPUT], None),  # the newest counts
        ([USER, THEIRS, CALL, OUTPUT, {"role": "user", "content": "Go."}], None),
        ([USER, THEIRS, SAID, USER, CALL, OUTPUT], None),
        ([USER, THEIRS, CALL], None),
        ([], None),
    ],
)
def test_an_open_loop_with_encrypted_reasoning_is_of_a_native_target(items: list[Any], family: str | None) -> None:
    assert native_family(items) == family
