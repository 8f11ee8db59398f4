"""Names of members are replaced in JSON text that comes in pieces."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.names import Renaming
from proxy.dialects.rewriter import MemberRewriter
from tests.support.fakes import cut

NAMES = {"_top": "$top", "_q": 'a"\\b', "_u": "é\n"}
BACK = Renaming(NAMES, {})
KEYS = st.sampled_from([*NAMES, "top", 'x"_top', "\\", "", "_top "])
VALUES = st.recursive(
    st.sampled_from([None, 1.5, True, "_top", '{"_top": 1}', "a\\", '"']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=10,
)


@given(VALUES, st.booleans(), st.lists(st.integers(1, 5), max_size=80))
def test_names_are_replaced_wherever_the_text_is_cut(value: Any, spaced: bool, sizes: list[int]) -> None:
    text = json.dumps(value, indent=1 if spaced else None)
    rewriter = MemberRewriter(NAMES)

    pieces = [rewriter.feed(piece.decode()) for piece in cut(text.encode(), iter(sizes))]

    assert json.loads("".join(pieces) + rewriter.rest()) == BACK.arguments(value)


@pytest.mark.parametrize("text", ['{"_to', '{"_top', '{"a": "_top', "not JSON, {", "}]}", '{"\\u00', '["_top"'])
def test_what_is_cut_off_is_passed_on_as_it_is(text: str) -> None:
    rewriter = MemberRewriter(NAMES)

    assert rewriter.feed(text) + rewriter.rest() == text


def test_only_a_name_is_held_back() -> None:
    rewriter = MemberRewriter(NAMES)

    assert rewriter.feed('{"_top": "long te') == '{"$top": "long te'
    assert rewriter.feed('xt", "_t') == 'xt", '
    assert rewriter.feed('op"') == '"$top"'


def test_an_escaped_name_is_the_same_name() -> None:
    assert MemberRewriter(NAMES).feed('{"\\u005ftop":1}') == '{"$top":1}'
