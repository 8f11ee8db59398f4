"""Bodies for targets with a Messages API of their own, with opened carriers."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.body import parse
from proxy.core.call import NativeRequest
from proxy.core.json_text import compact
from proxy.surfaces.carriers import Carried
from proxy.surfaces.messages.opened import opened

TEXT = {"type": "text", "text": "Hi"}
USER = {"role": "user", "content": "Go."}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "1"}]}
USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
FOREIGN_USE = {**USE, "id": "call_1"}
NATIVE = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
SEALED = {"type": "thinking", "thinking": "Hm.", "signature": "sbx1.thinking"}
ENTRIES = {
    "sbx1.thinking": ("anthropic", {"type": "reasoning.text", "text": "Hm.", "signature": "c2ln"}),
    "sbx1.redacted": ("anthropic", {"type": "reasoning.encrypted", "data": "ZGF0YQ=="}),
    "sbx1.sequence": ("anthropic", {"type": "reasoning.encrypted", "data": "signalbox.blocks.v1:[]"}),
    "sbx1.google": ("gemini", {}),
}


def unseal(text: str) -> Carried | None:
    if text not in ENTRIES:
        return None
    family, entry = ENTRIES[text]
    return Carried(family, "", {"reasoning_details": [entry]})


def request_of(*messages: dict[str, Any], **members: Any) -> NativeRequest:
    raw = compact({"model": "m", "messages": list(messages), **members})
    return NativeRequest("messages", raw, parse(raw).spans)


def read(*messages: dict[str, Any], **members: Any) -> Any:
    request = request_of(*messages, **members)
    changed = opened(request, parse(request.raw).body, unseal)
    assert changed.spans == parse(changed.raw).spans
    return parse(changed.raw).body


def assistant(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


@pytest.mark.parametrize("thinking", [None, {"type": "enabled", "budget_tokens": 2000}, {"type": "adaptive"}])
def test_a_body_of_anthropic_s_own_history_is_the_same_request(thinking: Any) -> None:
    request = request_of(USER, assistant(NATIVE, USE), RESULT, thinking=thinking)

    assert opened(request, parse(request.raw).body, unseal) is request


def test_a_carrier_becomes_the_block_that_it_holds() -> None:
    redacted = {"type": "redacted_thinking", "data": "sbx1.redacted"}

    body = read(USER, assistant(SEALED, redacted, TEXT, USE), RESULT)

    assert body["messages"] == [
        USER,
        assistant(NATIVE, {"type": "redacted_thinking", "data": "ZGF0YQ=="}, TEXT, USE),
        RESULT,
    ]


@pytest.mark.parametrize("signature", ["sbx1.google", "sbx1.unknown", "sbx1.sequence"])
def test_other_carriers_are_left_out(signature: str) -> None:
    assert read(USER, assistant({**SEALED, "signature": signature}, TEXT))["messages"][1] == assistant(TEXT)


def test_a_turn_of_carriers_only_keeps_its_place() -> None:
    sealed = {**SEALED, "signature": "sbx1.google"}

    assert read(USER, assistant(sealed), USER)["messages"][1] == assistant({"type": "text", "text": "(no content)"})


def test_thinking_is_off_while_another_provider_s_loop_is_open() -> None:
    manual = {"type": "enabled", "budget_tokens": 2000}
    management = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}, {"type": "clear_tool_uses_20250919"}]}

    body = read(USER, assistant(FOREIGN_USE), RESULT, thinking=manual, context_management=management)

    assert "thinking" not in body
    assert body["context_management"] == {"edits": [{"type": "clear_tool_uses_20250919"}]}
    assert body["messages"] == [USER, assistant(FOREIGN_USE), RESULT]


@pytest.mark.parametrize(
    ("turn", "last", "thinking"),
    [
        (assistant(SEALED, FOREIGN_USE), RESULT, "enabled"),  # it begins with thinking
        (assistant(FOREIGN_USE), RESULT, "adaptive"),  # only the manual mode requires it
        (assistant(FOREIGN_USE), USER, "enabled"),  # the loop is closed
        (assistant(USE), RESULT, "enabled"),  # Anthropic's own turn: its error reaches the client
    ],
)
def test_thinking_stays_otherwise(turn: dict[str, Any], last: dict[str, Any], thinking: str) -> None:
    assert read(USER, turn, last, thinking={"type": thinking})["thinking"] == {"type": thinking}


def test_thinking_is_off_if_the_loop_s_own_carrier_was_left_out() -> None:
    sealed = {**SEALED, "signature": "sbx1.google"}

    assert "thinking" not in read(USER, assistant(sealed, USE), RESULT, thinking={"type": "enabled"})
