"""Carriers return what was sealed, and nothing that clients or upstreams write breaks them."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.principal import Identified
from proxy.surfaces.carriers import PREFIX, Carried, PieceReader, open_family, pieces, restore, seal, unseal
from tests.support.calls import call, snapshot

ON = snapshot()
CALLER = Identified("one", user="u")
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=30)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
NAMES = st.sampled_from(
    ["reasoning_details", "google_parts", "tool_calls", "extra_content", "reasoning_content", "id", "google", "role"]
    + ["index", "type", "text", "signature", "data", "format", "summary", "tool", "assistant", "user"]
)
ODD: st.SearchStrategy[Any] = st.recursive(
    SCALARS | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
MESSAGES = st.dictionaries(NAMES, ODD, max_size=6)


@settings(max_examples=40)
@given(st.sampled_from(["anthropic", "gemini", "openai"]), st.dictionaries(st.text(max_size=9), JSON, max_size=4))
def test_sealed_members_return(family: Any, members: dict[str, Any]) -> None:
    asked = call(on=ON)
    asked.principal = CALLER

    opened = unseal(ON, CALLER, seal(asked, family, members, "acme"))

    assert opened == Carried(family, "acme", members)


@given(st.text(max_size=300), st.booleans())
def test_no_text_of_a_client_is_opened(text: str, prefixed: bool) -> None:
    assert unseal(ON, CALLER, PREFIX + text if prefixed else text) is None


@given(st.lists(MESSAGES, max_size=5))
@settings(max_examples=60)
def test_odd_answers_give_pieces_that_can_be_restored(messages: list[dict[str, Any]]) -> None:
    reader = PieceReader()
    read = [piece for message in messages for piece in reader.feed(message)] + reader.end()
    open_family(messages)

    for family, members in [*read, *(piece for message in messages for piece in pieces(message))]:
        restored: dict[str, Any] = {"role": "assistant", "tool_calls": [{"id": "a"}, {"id": "b"}]}
        restore(restored, Carried(family, "", members))
        assert json.loads(json.dumps(restored))["role"] == "assistant"
