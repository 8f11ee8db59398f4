"""Byte-preserving edits of a JSON object: what is not edited keeps its bytes."""

from __future__ import annotations

import pytest

from proxy.core.body import parse
from proxy.core.spans import edit


def edited(raw: bytes, remove: tuple[str, ...] = (), **replace: bytes) -> bytes:
    return edit(raw, parse(raw).spans, replace, remove)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"model":"a"}', b'{"model":"z"}'),
        (b'{ "model" :\t"a" ,\n "x":1}', b'{ "model" :\t"z" ,\n "x":1}'),
        (b'{"x":"model\\":\\"a","model":"a"}', b'{"x":"model\\":\\"a","model":"z"}'),
        (b'{"x":{"model":"a"},"model":"a"}', b'{"x":{"model":"a"},"model":"z"}'),
        (b'{"mod\\u0065l":"a","x":1.50e+0}', b'{"mod\\u0065l":"z","x":1.50e+0}'),
        ('{"x":"日本","model":"é","y":"ß"}'.encode(), '{"x":"日本","model":"z","y":"ß"}'.encode()),
    ],
)
def test_edit_replaces_the_value_at_the_top_level_only(raw: bytes, expected: bytes) -> None:
    assert edited(raw, model=b'"z"') == expected


def test_edit_adds_a_missing_member_at_the_end() -> None:
    assert edited(b'{"a":1 }', b=b"{}", c=b"2") == b'{"a":1,"b":{},"c":2 }'


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"router":{},"a":1}', b'{"a":1}'),
        (b'{ "router" : {} , "a":1}', b'{ "a":1}'),
        (b'{"a":1,"router":{}}', b'{"a":1}'),
        (b'{"a":1, "router":{"x":[1,2]} , "b":2}', b'{"a":1 , "b":2}'),
        (b'{"a":1}', b'{"a":1}'),
    ],
)
def test_edit_removes_a_member_with_one_comma(raw: bytes, expected: bytes) -> None:
    assert edited(raw, ("router",)) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"model":"m","a":1,"router":{},"a":2}', b'{"model":"m","a":1,"a":2}'),
        (b'{"router":{},"a":1,"model":"m","a":2}', b'{"a":1,"model":"m","a":2}'),
    ],
)
def test_edit_leaves_repeated_members_beside_a_removed_one(raw: bytes, expected: bytes) -> None:
    assert edited(raw, ("router",)) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"x":1,"y":2,"a":3}', b'{"a":3}'),
        (b'{"x":1,"a":3,"y":2}', b'{"a":3}'),
        (b'{"a":3,"x":1,"y":2}', b'{"a":3}'),
        (b'{"a":3,"x":1,"b":4,"y":2}', b'{"a":3,"b":4}'),
    ],
)
def test_edit_removes_several_members_at_once(raw: bytes, expected: bytes) -> None:
    assert edited(raw, ("x", "y")) == expected


def test_edit_replaces_adds_and_removes_at_once() -> None:
    raw = b'{"router":{"debug":true},"model":"a","x":1}'

    assert edited(raw, ("router",), model=b'"z"', stream_options=b"{}") == b'{"model":"z","x":1,"stream_options":{}}'


def test_edit_adds_a_member_after_a_removed_last_one() -> None:
    assert edited(b'{"model":"a", "router":{} }', ("router",), n=b"1") == b'{"model":"a","n":1 }'


def test_edit_of_nothing_returns_the_same_bytes() -> None:
    raw = b'{"a": 1}'

    assert edit(raw, parse(raw).spans, {}, ("b",)) is raw
