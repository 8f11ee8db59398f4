"""One answer, however its bytes are cut, and what is refused."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.failures import FailureKind
from proxy.upstream.net.connection import (
    COMPLETE,
    MAX_HEAD,
    MAX_HEADERS,
    MAX_INTERIM,
    READY,
    Connection,
)

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

WHOLE: dict[str, tuple[bytes, bytes, bool]] = {  # the bytes, the body, whether the connection may be used again
    "with a length": (OK + b"Content-Length: 5\r\n\r\nhello", b"hello", True),
    "without a body": (OK + b"content-length: 0\r\n\r\n", b"", True),
    "in chunks": (CHUNKED + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"hello", True),
    "in chunks with extensions": (CHUNKED + b"5;a=b;c\r\nhello\r\n0;d\r\n\r\n", b"hello", True),
    "in chunks with trailers": (CHUNKED + b"5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n", b"hello", True),
    "in chunks with leading zeros": (CHUNKED + b"0005\r\nhello\r\n000\r\n\r\n", b"hello", True),
    "after 1xx answers": (CONTINUE * 3 + OK + b"content-length: 5\r\n\r\nhello", b"hello", True),
    "after early hints": (
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + OK + b"content-length: 5\r\n\r\nhello",
        b"hello",
        True,
    ),
    "after blank lines": (b"\r\n\r\n" + OK + b"content-length: 5\r\n\r\nhello", b"hello", True),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    "304 with the length of another": (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", b"", True),
    "with connection: close": (OK + b"connection: close\r\ncontent-length: 5\r\n\r\nhello", b"hello", False),
    "of HTTP/1.0": (b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", b"hello", False),
    "of HTTP/1.0 that keeps": (
        b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello",
        b"hello",
        True,
    ),
    "with an upgrade on offer": (
        OK + b"upgrade: h2\r\nconnection: upgrade, keep-alive\r\ncontent-length: 5\r\n\r\nhello",
        b"hello",
        True,
    ),
    "without a reason": (b"HTTP/1.1 200\r\ncontent-length: 5\r\n\r\nhello", b"hello", True),
    "with a folded header": (OK + b"x-a: one\r\n two\r\ncontent-length: 5\r\n\r\nhello", b"hello", True),
}
UNTIL_CLOSE = {
    "HTTP/1.1": OK + b"\r\nhello",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\nhello",
}
REFUSED = {
    "not HTTP": b"SSH-2.0-OpenSSH\r\n",
    "HTTP/0.9": b"<html>hello</html>",
    "a status of two digits": b"HTTP/1.1 99 Odd\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 Odd\r\n\r\n",
    "a status below 100": b"HTTP/1.1 042 Odd\r\n\r\n",
    "a negative length": OK + b"content-length: -5\r\n\r\nhello",
    "a length with a sign": OK + b"content-length: +5\r\n\r\nhello",
    "a length that is a list": OK + b"content-length: 5, 5\r\n\r\nhello",
    "two lengths": OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    "a length that overflows": OK + b"content-length: 99999999999999999999\r\n\r\nhello",
    "an empty length": OK + b"content-length:\r\n\r\nhello",
    "a length and chunks": OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "another coding": OK + b"transfer-encoding: gzip\r\n\r\nhello",
    "another coding in chunks": OK + b"transfer-encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "chunks twice": OK + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "a negative chunk": CHUNKED + b"-5\r\nhello\r\n",
    "a chunk that overflows": CHUNKED + b"fffffffffffffffff\r\nhello\r\n",
    "a chunk size that is none": CHUNKED + b"0x5\r\nhello\r\n",
    "an empty chunk size": CHUNKED + b"\r\nhello\r\n",
    "a chunk that is too long": CHUNKED + b"4\r\nhello\r\n",
    "a space before the colon": OK + b"x-a : b\r\n\r\n",
    "a header without a name": OK + b": b\r\n\r\n",
    "a header without a colon": OK + b"x-a\r\n\r\n",
    "a bare CR in a value": OK + b"x-a: b\rc: d\r\n\r\n",
    "a bare LF in a value": OK + b"x-a: b\nc: d\r\n\r\n",
    "a bare CR before a value": OK + b"x-a:\r b\r\n\r\n",
    "a bare CR at the end of a line": OK + b"x-a: b\r\r\nc: d\r\n\r\n",
    "a bare LF after a control character": OK + b"x-a: b\x01\nc: d\r\n\r\n",
    "a folded first line": OK + b" x-a: b\r\ncontent-length: 5\r\n\r\nhello",
    "a blank in place of the headers": OK + b" \r\nhello",
    "a blank in place of the headers of a 1xx answer": b"HTTP/1.1 100 Continue\r\n \r\n" + CONTINUE + OK + b"\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    "another protocol without a name": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "a 1xx answer with a body": b"HTTP/1.1 104 Odd\r\ncontent-length: 5\r\n\r\nhello",
    "a head that is too large": OK + b"x-a: " + b"a" * MAX_HEAD + b"\r\n\r\n",
    "a head that is too large, with a body": OK + b"content-length: 5\r\nx-a: " + b"a" * MAX_HEAD + b"\r\n\r\nhello",
    "too many headers": OK + b"x-a: b\r\n" * (MAX_HEADERS + 1) + b"\r\n",
    "too many trailers": CHUNKED + b"0\r\n" + b"x-a: b\r\n" * MAX_HEADERS + b"\r\n",
    "too many 1xx answers": CONTINUE * (MAX_INTERIM + 1) + OK,
}
ENDLESS = {  # what comes before, and what comes again and again
    "a header's name": (OK, b"a" * 1000),
    "a header's value": (OK + b"x-a: ", b"a" * 1000),
    "headers": (OK, b"x-a: b\r\n" * 10),
    "blank lines": (b"", b"\r\n" * 100),
    "1xx answers": (b"", CONTINUE),
    "early hints": (b"", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
    "the reason": (b"HTTP/1.1 200 ", b"a" * 1000),
    "a chunk extension": (CHUNKED + b"5;", b"a" * 1000),
    "a chunk size": (CHUNKED, b"0" * 1000),
    "a trailer": (CHUNKED + b"0\r\nx-a: ", b"a" * 1000),
    "trailers": (CHUNKED + b"0\r\n", b"x-a: b\r\n" * 10),
}


class Answer(Connection):
    """An answer that gets bytes as a connection would give them."""

    def __init__(self) -> None:
        self.buffer = bytearray(1 << 20)
        super().__init__(memoryview(self.buffer), Mock())
        self.connection_made(Mock(spec=asyncio.Transport, get_extra_info=lambda name: Mock(fileno=lambda: 0)))

    def feed(self, data: bytes) -> None:
        self.buffer[: len(data)] = data
        self.buffer_updated(len(data))

    @property
    def complete(self) -> bool:
        return self.state == COMPLETE


def fed(*pieces: bytes) -> Any:
    """An answer that gets these pieces."""
    answer = Answer()
    for piece in pieces:
        if answer.fault is None and not answer.complete:
            answer.feed(piece)
    return answer


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:end] for start, end in zip(edges, edges[1:], strict=False) if end > start]


@pytest.mark.parametrize("name", WHOLE)
def test_whole_answer_is_complete(name: str) -> None:
    data, body, reusable = WHOLE[name]

    answer = fed(data)

    assert (answer.state, answer.fault) == (COMPLETE, None)
    assert (answer.take(), answer.reusable) == (body, reusable)


@given(st.sampled_from(sorted(WHOLE)), st.lists(st.integers(0, 200)))
def test_cuts_between_bytes_change_nothing(name: str, places: list[int]) -> None:
    data, body, reusable = WHOLE[name]

    answer = fed(*cut(data, places))

    assert (answer.complete, answer.fault, answer.take(), answer.reusable) == (True, None, body, reusable)


@pytest.mark.parametrize("name", WHOLE)
def test_end_before_the_last_byte_is_a_fault(name: str) -> None:
    data, _, _ = WHOLE[name]

    for length in range(len(data)):
        answer = fed(data[:length])
        answer.eof_received()

        assert answer.fault is not None, length
        assert answer.fault.kind is FailureKind.CONNECT
        assert not answer.complete


@pytest.mark.parametrize("data", UNTIL_CLOSE.values(), ids=UNTIL_CLOSE)
def test_body_without_framing_ends_with_connection(data: bytes) -> None:
    answer = fed(data)
    assert answer.state == READY

    answer.eof_received()

    assert (answer.complete, answer.reusable, answer.take()) == (True, False, b"hello")


@pytest.mark.parametrize("name", REFUSED)
def test_invalid_answer_is_refused(name: str) -> None:
    data = REFUSED[name]

    for answer in (fed(data), fed(*(data[at : at + 1] for at in range(len(data))))):
        answer.eof_received()

        assert answer.fault is not None
        assert (answer.fault.kind, answer.complete) == (FailureKind.CONNECT, False)
        assert len(str(answer.fault)) < 300


@pytest.mark.parametrize("name", ENDLESS)
def test_what_never_ends_is_cut_off(name: str) -> None:
    before, again = ENDLESS[name]
    answer = fed(before)

    for _ in range(2 * MAX_HEAD // len(again)):
        if answer.fault is not None:
            break
        answer.feed(again)

    assert answer.fault is not None
    assert answer.fault.cause == "protocol"


def test_long_stream_of_small_chunks_is_not_cut_off() -> None:
    answer = fed(CHUNKED)

    for _ in range(2 * MAX_HEAD // 5):
        answer.feed(b"1;x\r\na\r\n")

    assert answer.fault is None


@pytest.mark.parametrize("extra", [OK, b"H", b"garbage", b"\x00", CONTINUE])
@pytest.mark.parametrize("name", [name for name, (_, _, reusable) in WHOLE.items() if reusable])
def test_connection_with_bytes_after_answer_is_not_reused(name: str, extra: bytes) -> None:
    data, body, _ = WHOLE[name]

    answer = fed(data + extra)

    assert (answer.complete, answer.fault, answer.reusable, answer.take()) == (True, None, False, body)


def test_headers_have_lower_case_names_and_are_joined() -> None:
    head = b"X-One: a\r\nx-one: b\r\nX-Two:  \xe9 \r\nContent-Length: 0\r\n\r\n"

    assert fed(OK + head).headers == {"x-one": "a, b", "x-two": "\xe9", "content-length": "0"}


def test_header_with_a_control_character_is_left_out() -> None:
    head = b"x-a: a\x01b\r\nx-b: a\x00b\r\nx-c: a\tb\r\nx-d: \x7f\r\ncontent-length: 0\r\n\r\n"

    assert fed(OK + head).headers == {"x-c": "a\tb", "content-length": "0"}


def test_headers_of_1xx_answers_do_not_count() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\n" + b"link: </a>\r\n" * 100 + b"\r\n"

    answer = fed(hints * 4 + OK + b"content-length: 0\r\n\r\n")

    assert answer.headers == {"content-length": "0"}


@pytest.mark.parametrize("error", [ConnectionResetError(), TimeoutError(110, "Connection timed out")])
def test_error_of_the_connection_is_a_fault_unless_the_answer_is_complete(error: Exception) -> None:
    whole, broken = fed(WHOLE["in chunks"][0]), fed(UNTIL_CLOSE["HTTP/1.1"])

    whole.connection_lost(error)
    broken.connection_lost(error)

    assert (whole.fault, whole.state, broken.state) == (None, COMPLETE, READY)
    assert broken.fault is not None
    assert broken.fault.cause == ("reset" if isinstance(error, ConnectionError) else "timeout")
