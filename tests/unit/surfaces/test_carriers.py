"""Carriers: sealed signatures in the hands of clients."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from proxy.core.auth import AuthPolicy
from proxy.core.call import Call
from proxy.core.principal import UNKNOWN_CALLER, Identified, Principal
from proxy.core.snapshot import Snapshot
from proxy.surfaces.carriers import (
    PREFIX,
    Carried,
    PieceReader,
    is_carrier,
    open_family,
    pieces,
    restore,
    seal,
    text_piece,
    unseal,
)
from tests.support import calls

KEY, OLD_KEY = b"k" * 64, b"o" * 64
THINKING = {"index": 0, "type": "reasoning.text", "text": "Hm.", "signature": "c2ln", "format": "anthropic-claude-v1"}
REDACTED = {"index": 1, "type": "reasoning.encrypted", "data": "ZGF0YQ==", "format": "anthropic-claude-v1"}
GOOGLE = {"google": {"thought_signature": "dGhvdWdodA=="}}
ONE = Identified("one", key_id="k1", user="u1", team="t1")


def sealing(*keys: bytes) -> Snapshot:
    return calls.snapshot(auth=AuthPolicy(carrier_keys=keys))


def by(principal: Principal, snapshot: Snapshot) -> Call:
    call = calls.call(on=snapshot)
    call.principal = principal
    return call


def message_with(*call_ids: str, **members: Any) -> dict[str, Any]:
    tool_calls = [{"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}} for id in call_ids]
    return {"role": "assistant", "content": None, "tool_calls": tool_calls, **members}


def test_a_carrier_gives_its_members_back() -> None:
    snapshot = sealing(KEY)

    text = seal(by(ONE, snapshot), "anthropic", {"reasoning_details": [THINKING]}, "acme")

    assert unseal(snapshot, ONE, text) == Carried("anthropic", "acme", {"reasoning_details": [THINKING]})


def test_the_text_shows_nothing_of_its_content() -> None:
    text = seal(by(ONE, sealing(KEY)), "anthropic", {"reasoning_details": [THINKING]})

    assert is_carrier(text)
    assert text.removeprefix(PREFIX).replace("-", "a").replace("_", "a").isalnum()
    assert "c2ln" not in text
    assert "anthropic" not in text


def test_equal_values_are_equal_texts() -> None:
    call = by(ONE, sealing(KEY))

    assert seal(call, "gemini", {"google_parts": []}) == seal(call, "gemini", {"google_parts": []})


@pytest.mark.parametrize("size", [10, 5_000, 400_000])
def test_long_and_repetitive_values_return_whole(size: int) -> None:
    snapshot, members = sealing(KEY), {"reasoning_content": "thought " * size}

    assert unseal(snapshot, ONE, seal(by(ONE, snapshot), "openai", members)) == Carried("openai", "", members)


def test_repetitive_values_are_not_compressed_beyond_a_limit() -> None:
    text = seal(by(ONE, sealing(KEY)), "openai", {"reasoning_content": "0" * 1_000_000})

    assert len(text) > 1_000_000 / 16


def test_a_team_shares_its_carriers() -> None:
    snapshot = sealing(KEY)
    text = seal(by(ONE, snapshot), "gemini", {})

    assert unseal(snapshot, Identified("two", key_id="k2", user="u2", team="t1"), text) == Carried("gemini", "", {})


@pytest.mark.parametrize(
    "other",
    [
        Identified("two", key_id="k1", user="u1", team="t2"),
        Identified("two", key_id="k1", user="t1"),
        Identified("two", key_id="t1"),
        UNKNOWN_CALLER,
    ],
)
def test_the_carrier_of_another_tenant_is_not_opened(other: Principal) -> None:
    snapshot = sealing(KEY)

    assert unseal(snapshot, other, seal(by(ONE, snapshot), "anthropic", {})) is None


def test_a_previous_key_opens_and_the_current_one_seals() -> None:
    old, both, new = sealing(OLD_KEY), sealing(KEY, OLD_KEY), sealing(KEY)
    before, after = seal(by(ONE, old), "anthropic", {}), seal(by(ONE, both), "anthropic", {})

    assert unseal(both, ONE, before) is not None
    assert unseal(new, ONE, before) is None
    assert unseal(new, ONE, after) is not None


@pytest.mark.parametrize(
    "text", ["", "sbx1.", "sbx1.AAAA", "sbx1.!", "sbx1." + "A" * 400, "sbx1.é", "sbx1.\ud800", "gAAAA", "signalbox"]
)
def test_foreign_texts_are_not_opened(text: str) -> None:
    assert unseal(sealing(KEY), ONE, text) is None


def test_a_changed_or_truncated_carrier_is_not_opened() -> None:
    snapshot = sealing(KEY)
    text = seal(by(ONE, snapshot), "anthropic", {"reasoning_details": [THINKING]})
    places = range(len(PREFIX), len(text) - 1, 7)
    changed = [text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :] for at in places]

    opened = [each for each in (*changed, text[:-4], text + "AAAA") if unseal(snapshot, ONE, each) is not None]

    assert opened == []


def test_pieces_of_a_message_have_their_families() -> None:
    message = {
        **message_with("c1", "c2"),
        "reasoning_content": "Hm.",
        "reasoning_details": [THINKING, REDACTED, {"type": "reasoning.text", "text": "no signature"}],
        "google_parts": [{"executableCode": {}}],
        "extra_content": GOOGLE,
    }
    message["tool_calls"][1]["extra_content"] = GOOGLE

    assert list(pieces(message)) == [
        ("anthropic", {"reasoning_details": [THINKING]}),
        ("anthropic", {"reasoning_details": [REDACTED]}),
        ("gemini", {"google_parts": [{"executableCode": {}}]}),
        ("gemini", {"tool_calls": {"c2": {"extra_content": GOOGLE}}}),
        ("gemini", {"extra_content": GOOGLE}),
    ]


def test_details_of_other_providers_are_of_the_openai_dialect() -> None:
    detail = {"type": "reasoning.encrypted", "data": "x", "format": "openai-responses-v1"}

    assert list(pieces({"reasoning_details": [detail]})) == [("openai", {"reasoning_details": [detail]})]


@pytest.mark.parametrize(
    "delta",
    [
        {},
        {"reasoning_details": "x", "google_parts": {"a": 1}, "tool_calls": 1, "extra_content": "y"},
        {"reasoning_details": [1, None], "tool_calls": [None, {"extra_content": {}}, {"id": 1, "extra_content": {}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
    ],
)
def test_other_deltas_have_no_pieces(delta: dict[str, Any]) -> None:
    assert list(pieces(delta)) == []


def test_reasoning_text_is_a_piece_only_of_dialects_without_signatures() -> None:
    assert text_piece("openai", "Hm.") == ("openai", {"reasoning_content": "Hm."})
    assert text_piece("openai", "Hm.", "reasoning") == ("openai", {"reasoning": "Hm."})
    assert text_piece("openai", "") is text_piece("anthropic", "Hm.") is text_piece("gemini", "Hm.") is None


def fragments(*entries: dict[str, Any]) -> list[Any]:
    reader = PieceReader()
    return [piece for entry in entries for piece in reader.feed({"reasoning_details": [entry]})] + reader.end()


def test_fragments_of_an_entry_are_one_piece() -> None:
    common = {"type": "reasoning.text", "index": 0, "format": "anthropic-claude-v1"}

    read = fragments({**common, "text": "One "}, {**common, "text": "two."}, {**common, "signature": "c2ln"})

    assert read == [("anthropic", {"reasoning_details": [{**common, "text": "One two.", "signature": "c2ln"}]})]


def test_entries_of_another_kind_or_index_are_pieces_of_their_own() -> None:
    summary = {"type": "reasoning.summary", "summary": "S", "index": 0, "format": "openai-responses-v1"}
    secret = {"type": "reasoning.encrypted", "data": "x", "index": 0, "format": "openai-responses-v1"}
    text = {"type": "reasoning.text", "text": "T", "index": 1, "format": "openai-responses-v1"}

    read = fragments(summary, secret, text)

    assert read == [("openai", {"reasoning_details": [entry]}) for entry in (summary, secret, text)]


def test_complete_entries_and_other_pieces_are_read_at_once() -> None:
    message = {**message_with("c1"), "reasoning_details": [THINKING, REDACTED]}
    message["tool_calls"][0]["extra_content"] = GOOGLE

    assert PieceReader().feed(message) == list(pieces(message))


@pytest.mark.parametrize("entry", [{"text": 1}, {"text": None, "data": 2}, {"index": [], "type": {}, "summary": {}}])
def test_values_of_odd_types_are_kept(entry: dict[str, Any]) -> None:
    assert fragments(entry) == [("openai", {"reasoning_details": [entry]})]


def test_all_pieces_restored_in_order_give_the_message_back() -> None:
    message = {**message_with("c1", "c2"), "reasoning_details": [THINKING, REDACTED], "extra_content": GOOGLE}
    message["tool_calls"][0]["extra_content"] = GOOGLE
    message["google_parts"] = [{"index": 0, "executableCode": {}}, {"index": 1, "codeExecutionResult": {}}]
    plain = message_with("c1", "c2")

    for family, members in pieces(json.loads(json.dumps(message))):
        restore(plain, Carried(family, "", members))

    assert plain == message


def test_reasoning_texts_are_joined() -> None:
    message = message_with()

    restore(message, Carried("openai", "", {"reasoning_content": "One. "}))
    restore(message, Carried("openai", "", {"reasoning_content": "Two."}))

    assert message["reasoning_content"] == "One. Two."


def test_members_of_a_missing_call_are_omitted() -> None:
    message = message_with("other")

    restore(message, Carried("gemini", "", {"tool_calls": {"c1": {"extra_content": GOOGLE}}}))

    assert message == message_with("other")


def signed(*call_ids: str) -> dict[str, Any]:
    return message_with(*call_ids, reasoning_details=[THINKING])


USER, TOOL = {"role": "user", "content": "Go."}, {"role": "tool", "tool_call_id": "c1", "content": "1"}


@pytest.mark.parametrize(
    ("messages", "family"),
    [
        ([USER], None),
        ([TOOL], None),
        ([USER, signed("c1"), TOOL], "anthropic"),
        ([USER, signed("c1"), TOOL, TOOL], "anthropic"),
        ([USER, signed("c1"), TOOL, USER], "anthropic"),  # text beside the results
        ([USER, signed("c1"), TOOL, message_with("c2"), TOOL], "anthropic"),  # an unsigned step
        ([USER, signed("c1"), TOOL, USER, message_with("c2"), TOOL], "anthropic"),
        ([USER, signed("c1"), TOOL, message_with("c2", extra_content=GOOGLE), TOOL], "gemini"),
        ([USER, signed("c1")], None),
        ([USER, signed("c1"), USER], None),
        ([USER, signed("c1"), TOOL, {"role": "assistant", "content": "Done."}, USER], None),
        (
            [USER, signed("c1"), TOOL, {"role": "assistant", "content": "Done."}, USER, message_with("c2"), TOOL],
            None,
        ),
        ([USER, message_with("c1"), TOOL], None),
    ],
)
def test_an_open_tool_loop_has_the_family_of_its_newest_signature(
    messages: list[dict[str, Any]], family: str | None
) -> None:
    assert open_family(messages) == family


def test_the_keys_are_not_shown() -> None:
    assert "kkkk" not in repr(replace(AuthPolicy(), carrier_keys=(KEY,)))
