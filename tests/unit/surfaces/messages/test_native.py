"""The bodies of Messages calls for Anthropic targets, with answers of other providers in the conversation."""

from __future__ import annotations

import json
from typing import Any

from proxy.core.body import parse
from proxy.core.call import NativeRequest
from proxy.surfaces.carriers import Carried
from proxy.surfaces.messages.native import opened

USER = {"role": "user", "content": "What is the weather?"}
CALL = {"type": "tool_use", "id": "call_1", "name": "get_weather", "input": {}}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "sunny"}]}
SIGNED = {"index": 0, "type": "reasoning.text", "text": "Hm.", "signature": "sig", "format": "anthropic-claude-v1"}
HIDDEN = {"index": 1, "type": "reasoning.encrypted", "data": "xyz", "format": "anthropic-claude-v1"}
THOUGHT = {"type": "thinking", "thinking": "Oh."}
MANUAL = {"type": "enabled", "budget_tokens": 1024}
CARRIERS = {
    "sbx1.own": Carried("anthropic", "other", {"reasoning_details": [SIGNED, HIDDEN, {"text": "unsigned"}, "x"]}),
    "sbx1.google": Carried("gemini", "gemini", {"extra_content": {"google": {"thought_signature": "s"}}}),
}


def request(*messages: Any, **members: Any) -> tuple[NativeRequest, dict[str, Any]]:
    body = {"model": "auto", "max_tokens": 9, "messages": [USER, *messages], **members}
    raw = json.dumps(body, indent=1).encode()
    return NativeRequest("messages", raw, parse(raw).spans), body


def read(*messages: Any, **members: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    native, body = request(*messages, **members)
    result = opened(native, body, CARRIERS.get)
    assert parse(result.raw).spans == result.spans
    return json.loads(result.raw), result.dropped


def thinking(sealed: str, **members: Any) -> dict[str, Any]:
    return {"type": "thinking", "thinking": "Hm.", "signature": sealed, **members}


def answer(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def test_a_body_without_carriers_keeps_its_bytes() -> None:
    native, body = request(
        answer(thinking("theirs"), CALL), RESULT, thinking={"type": "enabled", "budget_tokens": 1024}
    )

    assert opened(native, body, CARRIERS.get) is native


def test_a_text_that_mentions_a_carrier_keeps_its_bytes() -> None:
    native, body = request(answer({"type": "text", "text": "sbx1.own"}))

    assert opened(native, body, CARRIERS.get) is native


def test_anthropics_own_blocks_are_put_back() -> None:
    sent, dropped = read(answer(thinking("sbx1.own"), CALL), RESULT)

    assert sent["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
        {"type": "redacted_thinking", "data": "xyz"},
        CALL,
    ]
    assert dropped == ()


def test_a_carrier_of_the_whole_sequence_restores_the_order_of_the_blocks() -> None:
    second = {**CALL, "id": "call_2"}
    named = {**CALL, "name": "renamed"}  # at the provider that answered
    blocks = [
        {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
        named,
        {**THOUGHT, "signature": "s2"},
        second,
    ]
    carried = Carried("anthropic", "", {"reasoning_details": [{"data": f"signalbox.blocks.v1:{json.dumps(blocks)}"}]})

    def content(*turn: dict[str, Any]) -> Any:
        native, body = request(answer(*turn), RESULT)
        return json.loads(opened(native, body, {"sbx1.all": carried}.get).raw)["messages"][1]["content"]

    assert content(thinking("sbx1.all"), CALL, second) == [blocks[0], CALL, blocks[2], second]
    assert content(thinking("sbx1.all"), CALL) == [CALL]
    assert content(thinking("sbx1.all"), {"type": "text", "text": "edited"}, CALL, second)[1:] == [CALL, second]


def test_other_carriers_are_left_out_and_named() -> None:
    foreign = {"type": "redacted_thinking", "data": "sbx1.expired"}

    sent, dropped = read(answer(thinking("sbx1.google"), foreign, CALL), RESULT)

    assert sent["messages"] == [USER, answer(CALL), RESULT]
    assert dropped == ("messages.content.thinking",)


def test_a_message_of_carriers_alone_is_left_out() -> None:
    sent, _ = read(answer(thinking("sbx1.google")), USER)

    assert sent["messages"] == [USER, USER]


def test_thinking_is_off_for_the_results_of_another_providers_calls() -> None:
    clear = {"type": "clear_thinking_20251015", "keep": "all"}
    other = {"type": "clear_tool_uses_20250919"}

    sent, dropped = read(answer(CALL), RESULT, thinking=MANUAL, context_management={"edits": [clear]})
    kept, _ = read(answer(CALL), RESULT, thinking=MANUAL, context_management={"edits": [clear, other]})
    plain, _ = read(answer(CALL), RESULT, thinking=MANUAL)

    assert sorted(sent) == sorted(plain) == ["max_tokens", "messages", "model"]
    assert kept["context_management"] == {"edits": [other]}
    assert dropped == ("thinking",)


def test_thinking_stays_where_anthropic_accepts_it() -> None:
    own = {**CALL, "id": "toolu_1"}
    for messages, mode in (
        ([answer(own), RESULT], MANUAL),
        ([answer(CALL), RESULT], {"type": "adaptive"}),
        ([answer(CALL), RESULT, answer({"type": "text", "text": "Sunny."}), USER], MANUAL),
        ([answer(thinking("sbx1.own"), CALL), RESULT], MANUAL),
    ):
        sent, _ = read(*messages, thinking=mode)

        assert sent["thinking"] == mode


def test_odd_messages_are_left_to_anthropic() -> None:
    odd = [
        {"role": "assistant"},
        {"role": "user", "content": [1, {"type": ["x"]}, thinking("sbx1.google", signature=7)]},
    ]

    sent, dropped = read(*odd, answer({"type": "text", "text": "sbx1.own"}), thinking={"type": "enabled"})

    assert sent["messages"][1:3] == odd
    assert dropped == ()


def test_images_and_sources_of_other_providers_are_left_out() -> None:
    own = {"type": "web_search_result_location", "url": "https://a.test", "encrypted_index": "E1"}
    other = {**own, "encrypted_index": ""}
    text = {"type": "text", "text": "Won."}
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    question = {"role": "user", "content": [image]}

    search = {"type": "server_tool_use", "id": "srvtoolu_sbx10", "name": "web_search", "input": {"query": "x"}}
    found = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_sbx10", "content": []}
    cited = ({**text, "citations": [own, other]}, {**text, "citations": [other]})

    body, dropped = read(answer(*cited, search, found, image), question)

    assert body["messages"][1:] == [answer({**text, "citations": [own]}, text), question]
    assert dropped == tuple(f"messages.content.{block['type']}" for block in (search, found, image))


def test_anthropics_sources_and_images_of_users_keep_their_bytes() -> None:
    own = {"type": "web_search_result_location", "url": "https://a.test", "encrypted_index": "E1"}
    image = {"type": "image", "source": {"type": "url", "url": "https://a.test"}}
    native, body = request(
        answer({"type": "text", "text": "Won.", "citations": [own]}, {"type": "text", "text": "x", "citations": None}),
        {"role": "user", "content": [image]},
    )

    assert opened(native, body, CARRIERS.get) is native
