"""Edits of a JSON object: what is not edited keeps its bytes."""

from __future__ import annotations

import pytest

from proxy.core.body import MAX_DEPTH, MAX_MEMBERS, MAX_WORK, edit, parse
from proxy.core.errors import InvalidRequest
from proxy.core.work import MAX_STRINGS, MEMBER_WORK, NESTED_WORK, NUMBER_WORK


def edited(raw: bytes, remove: tuple[str, ...] = (), **replace: bytes) -> bytes:
    return edit(raw, parse(raw).spans, replace, remove)


def test_a_document_knows_its_values_and_where_they_stand() -> None:
    raw = b' {"a" : [1, 2], "b":"x"} '

    document = parse(raw)

    assert document.value == {"a": [1, 2], "b": "x"}
    assert [raw[span.value : span.end] for span in document.spans.values()] == [b"[1, 2]", b'"x"']
    assert [raw[span.key : span.key + 3] for span in document.spans.values()] == [b'"a"', b'"b"']


def test_places_are_in_bytes_not_in_characters() -> None:
    raw = '{"ä":"\U0001f600","model":"é"}'.encode()

    span = parse(raw).spans["model"]

    assert raw[span.value : span.end] == '"é"'.encode()


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
def test_only_the_top_level_value_is_replaced(raw: bytes, expected: bytes) -> None:
    assert edited(raw, model=b'"z"') == expected


def test_a_member_that_is_not_there_is_added_at_the_end() -> None:
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
def test_a_member_is_cut_with_one_comma(raw: bytes, expected: bytes) -> None:
    assert edited(raw, ("router",)) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"model":"m","a":1,"router":{},"a":2}', b'{"model":"m","a":1,"a":2}'),
        (b'{"router":{},"a":1,"model":"m","a":2}', b'{"a":1,"model":"m","a":2}'),
    ],
)
def test_cutting_a_member_leaves_repeated_ones_beside_it(raw: bytes, expected: bytes) -> None:
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
def test_several_members_are_cut_at_once(raw: bytes, expected: bytes) -> None:
    assert edited(raw, ("x", "y")) == expected


def test_replacing_adding_and_cutting_go_together() -> None:
    raw = b'{"router":{"debug":true},"model":"a","x":1}'

    assert edited(raw, ("router",), model=b'"z"', stream_options=b"{}") == b'{"model":"z","x":1,"stream_options":{}}'


def test_cutting_the_last_member_and_adding_one_go_together() -> None:
    assert edited(b'{"model":"a", "router":{} }', ("router",), n=b"1") == b'{"model":"a","n":1 }'


def test_repeated_members_are_told_and_the_last_counts() -> None:
    document = parse(b'{"a":1,"b":{"c":1,"c":2},"a":2}')

    assert document.value["a"] == 2
    assert document.repeated == {"a"}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "not valid JSON"),
        (b"   ", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"a"', "expected ':'"),
        (b'{"a":1', "expected ',' or '}'"),
        (b'{"a":1,}', "property name"),
        (b"{a:1}", "property name"),
        (b'{"a":1 "b":2}', "expected ',' or '}'"),
        (b'{"a":1}x', "something follows"),
        (b'{"a":1}{"a":1}', "something follows"),
        (b'{"a":NaN}', "`NaN` is not JSON"),
        (b'{"a":[-Infinity]}', "`-Infinity` is not JSON"),
        (b'{"a":"\n"}', "control character"),
        (b'{"a":01}', "expected ',' or '}'"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        (b'{"a":"\xff"}', "not UTF-8: byte 6"),
        (b"[]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b"<html>", "not valid JSON"),
    ],
)
def test_what_is_no_json_object_is_refused_with_the_reason(raw: bytes, said: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse(raw)

    assert said in str(refused.value)


def nested(levels: int) -> bytes:
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def test_nesting_is_taken_up_to_the_limit_and_refused_beyond_it() -> None:
    assert parse(nested(MAX_DEPTH)).value

    with pytest.raises(InvalidRequest, match="nested too deeply"):
        parse(nested(MAX_DEPTH + 1))


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_endless_levels_are_refused_without_exhausting_the_stack(opening: bytes) -> None:
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        parse(b'{"a":' + opening * 50_000)


MEMBERS = 2 * MAX_WORK // MEMBER_WORK
EXPENSIVE = {
    "distinct members": b"{" + b",".join(b'"%x":1' % place for place in range(MEMBERS)) + b"}",
    "repeated members": b"{" + b'"a":1,' * MEMBERS + b'"a":1}',
    "objects": b"[" + b'{"a":1},' * MEMBERS + b"0]",
    "arrays": b"[" + b"[]," * (MAX_WORK // NESTED_WORK) + b"0]",
    "numbers": b"[" + b"1," * (MAX_WORK + 1) + b"1]",
    "floats": b"[" + b"1.7976931348623157e-300," * (MAX_WORK // (2 * NUMBER_WORK)) + b"0]",
    "exponents": b"[" + b"17976931348623157e3," * (MAX_WORK // NUMBER_WORK) + b"0]",
    "long integers": b"[" + (b"1" * 600 + b",") * (8 * MAX_WORK // 600) + b"0]",
    "strings": b"[" + b'"",' * (MAX_STRINGS + 1) + b"0]",
    "members after a text": b'{"t":"\\\\\\"","x":{' + b'"a":1,' * MEMBERS + b'"a":1}}',
    "members that never end": b"{" + b'"a":{' * 10 + b'"a":1,' * MEMBERS,
}


@pytest.mark.parametrize("value", EXPENSIVE.values(), ids=EXPENSIVE.keys())
def test_a_body_with_too_many_values_is_rejected_unparsed(value: bytes) -> None:
    with pytest.raises(InvalidRequest, match="too many members, items, numbers or strings"):
        parse(b'{"a":' + value + b"}")


@pytest.mark.parametrize(
    "text",
    [
        b"a: b, c; [d] {e}" * 200_000,
        b'\\"k\\":1,' * 300_000,
        b"\\\\" * 500_000 + b",:" * 200_000,
        "世:，,".encode() * 200_000,
    ],
    ids=["prose", "quoted JSON", "backslashes", "wide"],
)
def test_punctuation_inside_a_text_is_no_work(text: bytes) -> None:
    assert parse(b'{"a":"' + text + b'","b":[1,2]}').value["b"] == [1, 2]


def test_as_many_numbers_as_an_embedding_takes_are_read() -> None:
    assert len(parse(b'{"a":[' + b"12345," * 300_000 + b"1]}").value["a"]) == 300_001


@pytest.mark.parametrize("name", [b'"k%d":1', b'"k":%d'], ids=["distinct", "repeated"])
def test_more_top_level_members_than_the_limit_are_refused(name: bytes) -> None:
    with pytest.raises(InvalidRequest, match="too many members"):
        parse(b"{" + b",".join(name % place for place in range(MAX_MEMBERS + 2)) + b"}")


def test_many_brackets_side_by_side_are_not_deep() -> None:
    assert len(parse(b'{"a":[' + b"[]," * 500 + b"[]]}").value["a"]) == 501


def test_an_empty_object_has_no_members() -> None:
    assert parse(b" { } ").spans == {}
