"""The head of a request, and where it goes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.failures import UpstreamFailure
from proxy.core.wire import UpstreamRequest
from proxy.upstream.net import request as module
from proxy.upstream.net.request import Heads, Origin, framed, prepare

URL = "https://api.acme.test/v1/chat/completions"


def request(url: str = URL, **fields: Any) -> UpstreamRequest:
    return UpstreamRequest(**{"url": url, "headers": {}, "content": b"{}", "connect_timeout": 1.0, **fields})


@pytest.mark.parametrize(
    ("url", "origin", "first", "host"),
    [
        (URL, (True, "api.acme.test", 443), "POST /v1/chat/completions HTTP/1.1", "api.acme.test"),
        ("https://acme.test:443/", (True, "acme.test", 443), "POST / HTTP/1.1", "acme.test"),
        ("http://acme.test", (False, "acme.test", 80), "POST / HTTP/1.1", "acme.test"),
        ("http://acme.test:443/a", (False, "acme.test", 443), "POST /a HTTP/1.1", "acme.test:443"),
        ("http://[::1]:8000/v1?a=b&c=%2F", (False, "::1", 8000), "POST /v1?a=b&c=%2F HTTP/1.1", "[::1]:8000"),
        ("http://ACME.test/V1", (False, "acme.test", 80), "POST /V1 HTTP/1.1", "acme.test"),
        ("http://b\u00fccher.test/\u00fc b", (False, "xn--bcher-kva.test", 80), "POST /%C3%BC%20b HTTP/1.1", None),
        ("http://user:word@acme.test/", (False, "acme.test", 80), "POST / HTTP/1.1", "acme.test"),
        (
            "http://acme.test/a:b@c~d;e=f,g!h'(i)*",
            (False, "acme.test", 80),
            "POST /a:b@c~d;e=f,g!h'(i)* HTTP/1.1",
            None,
        ),
    ],
)
def test_url_becomes_origin_and_head(url: str, origin: tuple[Any, ...], first: str, host: str | None) -> None:
    prepared = prepare(request(url))

    lines = prepared.head.decode().split("\r\n")
    assert prepared.origin == Origin(*origin, None)
    assert lines[0] == first
    assert lines[1] == f"host: {host or origin[1]}"


def test_head_has_what_every_request_needs() -> None:
    head = framed(prepare(request(headers={"x-a": "b\u00e9"})).head, request()).decode("latin-1")

    assert head.startswith("POST ")
    assert "\r\nx-a: b\u00e9\r\n" in head
    assert "\r\naccept-encoding: identity\r\n" in head
    assert "\r\nuser-agent: signalbox/" in head
    assert head.endswith("\r\ncontent-length: 2\r\n\r\n")


def test_extra_headers_follow_the_prepared_ones() -> None:
    plain = request(headers={"x-a": "1"})
    extra = request(headers={"x-a": "1"}, extra_headers={"traceparent": "00-1"})

    head = framed(prepare(plain).head, extra)

    assert prepare(extra) == prepare(plain)
    assert head.endswith(b"x-a: 1\r\ntraceparent: 00-1\r\ncontent-length: 2\r\n\r\n")


@pytest.mark.parametrize("extra", [{"x-a": "1\r\nx-b: 2"}, {"host": "other"}, {"x a": "1"}])
def test_extra_header_that_must_not_be_sent_is_an_error(extra: dict[str, str]) -> None:
    made = request(extra_headers=extra)

    with pytest.raises(ValueError, match="header"):
        framed(prepare(made).head, made)


def test_request_without_a_body_has_no_length_only_as_get() -> None:
    get, post = request(method="GET", content=b""), request(content=b"")

    assert b"content-length" not in framed(prepare(get).head, get)
    assert b"content-length: 0\r\n" in framed(prepare(post).head, post)


def test_trust_is_a_part_of_the_origin() -> None:
    assert prepare(request(ca="A")).origin != prepare(request(ca="B")).origin


@given(st.text(st.characters(max_codepoint=255)))
def test_no_value_can_add_a_line(value: str) -> None:
    if set(value) & set("\r\n\x00"):
        with pytest.raises(ValueError, match="line break"):
            prepare(request(headers={"x-a": value}))
        return

    head = prepare(request(headers={"x-a": value})).head

    assert head.count(b"\r\n") == head.count(b"\r") == head.count(b"\n") == 5


@pytest.mark.parametrize("url", ["", "acme", "ftp://acme.test/", "https://", "http:///v1", "http://acme.test:99999/"])
def test_url_that_cannot_be_is_a_failure(url: str) -> None:
    with pytest.raises(UpstreamFailure) as failed:
        prepare(request(url))

    assert failed.value.cause == "url"


def test_impossible_name_is_a_failure_of_dns() -> None:
    with pytest.raises(UpstreamFailure) as failed:
        prepare(request("http://" + "\u00fc" * 64 + ".test/"))

    assert failed.value.cause == "dns"


def test_heads_are_prepared_once() -> None:
    heads = Heads()

    one = heads.get(request(headers={"x-a": "1"}))

    assert heads.get(request(headers={"x-a": "1"}, content=b"another")) is one
    for other in ({"headers": {"x-a": "2"}}, {"url": URL + "2"}, {"method": "GET"}, {"ca": "PEM"}):
        assert heads.get(request(**{"headers": {"x-a": "1"}, **other})) is not one


def test_same_headers_serve_different_targets() -> None:
    heads, headers = Heads(), {"accept": "*/*"}
    requests = [
        request(headers=headers),
        request("https://other.test/", headers=headers),
        request(headers=headers, ca="a private one"),
        request(headers=headers, method="GET"),
    ]

    prepared = [heads.get(each) for each in (*requests, *requests)]

    assert prepared == [prepare(each) for each in (*requests, *requests)]


def test_number_of_heads_in_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PREPARED", 3)
    heads = Heads()

    for number in range(10):
        heads.get(request(headers={"traceparent": str(number)}))

    assert len(heads._prepared) <= 3  # noqa: SLF001
