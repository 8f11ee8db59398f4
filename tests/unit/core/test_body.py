"""Reading a body: its members, decoded when they are used, and what is rejected."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest
from msgspec import Raw

from proxy.core.body import Body, overlaid, parse
from proxy.core.errors import InvalidRequest
from proxy.core.exact import MAX_DEPTH, MAX_MEMBERS, MAX_WORK
from proxy.core.work import MAX_STRINGS, MEMBER_WORK, NESTED_WORK, NUMBER_WORK


def test_document_has_values_and_spans() -> None:
    raw = b' {"a" : [1, 2], "b":"x"} '

    document = parse(raw)

    assert document.body == {"a": [1, 2], "b": "x"}
    assert [raw[span.value : span.end] for span in document.spans.values()] == [b"[1, 2]", b'"x"']
    assert [raw[span.key : span.key + 3] for span in document.spans.values()] == [b'"a"', b'"b"']


def test_spans_count_bytes_not_characters() -> None:
    raw = '{"ä":"\U0001f600","model":"é"}'.encode()

    span = parse(raw).spans["model"]

    assert raw[span.value : span.end] == '"é"'.encode()


def test_repeated_members_are_reported_and_the_last_counts() -> None:
    document = parse(b'{"a":1,"b":{"c":1,"c":2},"a":2}')

    assert document.body["a"] == 2
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
def test_other_text_than_an_object_is_rejected_with_a_reason(raw: bytes, said: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse(raw)

    assert said in str(refused.value)


def nested(levels: int) -> bytes:
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def test_nesting_is_limited() -> None:
    assert parse(nested(MAX_DEPTH)).body

    with pytest.raises(InvalidRequest, match="nested too deeply"):
        parse(nested(MAX_DEPTH + 1))


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_endless_nesting_does_not_exhaust_the_stack(opening: bytes) -> None:
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
def test_body_with_too_many_values_is_rejected(value: bytes) -> None:
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
def test_punctuation_in_a_string_is_no_work(text: bytes) -> None:
    assert parse(b'{"a":"' + text + b'","b":[1,2]}').body["b"] == [1, 2]


def test_numbers_of_a_large_embeddings_call_are_read() -> None:
    assert len(parse(b'{"a":[' + b"12345," * 300_000 + b"1]}").body["a"]) == 300_001


@pytest.mark.parametrize("name", [b'"k%d":1', b'"k":%d'], ids=["distinct", "repeated"])
def test_number_of_members_is_limited(name: bytes) -> None:
    with pytest.raises(InvalidRequest, match="too many members"):
        parse(b"{" + b",".join(name % place for place in range(MAX_MEMBERS + 2)) + b"}")


def test_many_brackets_side_by_side_are_not_deep() -> None:
    assert len(parse(b'{"a":[' + b"[]," * 500 + b"[]]}").body["a"]) == 501


def test_empty_object_has_no_members() -> None:
    assert parse(b" { } ").spans == {}


def body_of(raw: bytes) -> Body:
    return parse(raw).body


def test_body_is_a_mapping_like_the_decoded_object() -> None:
    raw = b'{"a": [1, {"b": null}], "c": "x", "d": 1e400}'
    body, expected = body_of(raw), json.loads(raw)

    assert (len(body), list(body), "a" in body, "b" in body) == (3, ["a", "c", "d"], True, False)
    assert (body["c"], body.get("c"), body.get("b"), body.get("b", 1)) == ("x", "x", None, 1)
    assert {**body} == dict(body) == body == expected
    with pytest.raises(KeyError):
        body["b"]


def test_member_is_decoded_once() -> None:
    body = body_of(b'{"a": [1]}')

    assert body["a"] is body.get("a") is body["a"]


def test_pop_removes_a_member() -> None:
    body = body_of(b'{"a": 1, "router": {"debug": true}}')

    assert (body.pop("router"), body.pop("router")) == ({"debug": True}, None)
    assert body == {"a": 1}


@pytest.mark.parametrize("raw", [b'{"a":null}', b'{"b":1}', b'{"a":null,"c":"\\ud800"}'])
def test_null_and_missing_members_are_null(raw: bytes) -> None:
    assert body_of(raw).is_null("a")


@pytest.mark.parametrize("raw", [b'{"a":"null"}', b'{"a":0}', b'{"a":[]}', b'{"a":0,"c":"\\ud800"}'])
def test_other_members_are_not_null(raw: bytes) -> None:
    assert not body_of(raw).is_null("a")


@pytest.mark.parametrize(
    "text",
    [
        "-0",
        "-0.0",
        "1e400",
        "-1e400",
        "12345678901234567890123",
        "0.1",
        "1E5",
        '"\\ud800"',
        '"\\ud83d\\ude00"',
        "1" * 4000,
    ],
)
def test_value_is_what_json_reads(text: str) -> None:
    value = body_of(f'{{"a":{text}}}'.encode())["a"]

    assert repr(value) == repr(json.loads(text))


@pytest.fixture
def short_integers() -> Iterator[None]:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    yield
    sys.set_int_max_str_digits(before)


@pytest.mark.usefixtures("short_integers")
@pytest.mark.parametrize("before", range(0, 230, 7))
def test_integer_that_python_does_not_read_is_rejected(before: int) -> None:
    raw = b'{"t":"' + b"x" * before + b'","a":[' + b"7" * 641 + b"]}"

    with pytest.raises(InvalidRequest, match="640 digits"):
        parse(raw)
    assert len(str(body_of(raw.replace(b"7" * 641, b"7" * 640))["a"][0])) == 640


@pytest.mark.parametrize(
    "raw",
    [
        b'{"stream":true,"x":1,"stream":true}',
        b'{"a":1,"b":2,"a":[1,"b",2]}',
        b'{"a":1,"b":{"q":0,"b":2},"a":      7}',
        b'{"a":[1],"\\u0061":[1]}',
    ],
)
def test_repeated_members_are_found(raw: bytes) -> None:
    assert parse(raw).repeated


def test_other_values_are_laid_over_a_body_without_decoding_it() -> None:
    body = Body({"messages": Raw(b"not JSON"), "n": Raw(b"1")})

    found = overlaid(body, {"n": 2, "max_tokens": 5})

    assert list(found) == ["messages", "n", "max_tokens"]
    assert (found["n"], found["max_tokens"], body["n"]) == (2, 5, 1)


def test_a_body_without_other_values_is_itself() -> None:
    body = Body({"n": 1})

    assert overlaid(body, {}) is body
    assert overlaid({"n": 1}, {"n": 2}) == {"n": 2}
