"""Hostile answers of an upstream and hostile requests of a client: compression bombs, wrong lengths, deep JSON.

Every answer or request ends, and none is a valid one: where one yields a 200 with content, something is wrong.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import cache

MIB = 1024 * 1024
BOMB = 200 * MIB  # bytes that the body of a bomb unpacks to
DEEP = 1_000_000  # levels
PIECE = 64 * 1024
LONG_NUMBER = 1_000_000  # digits

JSON_TYPE, EVENTS_TYPE = "application/json", "text/event-stream"
_EVENT = b'data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"scripted","choices":'


def head(content_type: str, *lines: str) -> bytes:
    """Return the head of a 200."""
    return "\r\n".join(["HTTP/1.1 200 OK", f"content-type: {content_type}", *lines, "", ""]).encode()


@cache
def bomb(start: bytes = b'{"choices":[{"message":{"content":"', size: int = BOMB) -> bytes:
    """Return `start` and `size` bytes of text, compressed by gzip about 1000 to 1."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    piece = b"a" * MIB
    return b"".join([packer.compress(start), *(packer.compress(piece) for _ in range(size // MIB)), packer.flush()])


def nested(depth: int = DEEP) -> bytes:
    """Return a JSON text of that many nested arrays."""
    return b"[" * depth + b"]" * depth


def pieces_of(data: bytes) -> Iterator[bytes]:
    """Split `data` for writing with back-pressure."""
    return (data[at : at + PIECE] for at in range(0, len(data), PIECE))


def _sized(body: bytes, *lines: str, stream: bool = False, length: int | None = None) -> Iterable[bytes]:
    kind = EVENTS_TYPE if stream else JSON_TYPE
    yield head(kind, f"content-length: {len(body) if length is None else length}", *lines)
    yield from pieces_of(body)


def _bomb(stream: bool) -> Iterable[bytes]:
    start = _EVENT + b'[{"index":0,"delta":{"content":"' if stream else b'{"choices":[{"message":{"content":"'
    return _sized(bomb(start), "content-encoding: gzip", stream=stream)


def _bomb_of_blank_lines(stream: bool) -> Iterable[bytes]:
    """Return a body that unpacks to nothing but line feeds."""
    packed = zlib.compressobj(9, zlib.DEFLATED, 31)
    data = b"".join([*(packed.compress(b"\n" * MIB) for _ in range(BOMB // MIB)), packed.flush()])
    return _sized(data, "content-encoding: gzip", stream=stream)


def _deep(stream: bool) -> Iterable[bytes]:
    if stream:
        return _sized(_EVENT + nested() + b"}\n\n", stream=True)
    return _sized(b'{"id":"x","object":"chat.completion","choices":' + nested() + b"}")


def _deep_error(stream: bool) -> Iterable[bytes]:
    body = b'{"error":{"message":' + nested() + b"}}"
    yield f"HTTP/1.1 400 Bad Request\r\ncontent-type: {JSON_TYPE}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    yield from pieces_of(body)


def _long_number(stream: bool) -> Iterable[bytes]:
    digits = b"9" * LONG_NUMBER
    if stream:
        return _sized(_EVENT + digits + b"}\n\n", stream=True)
    return _sized(b'{"choices":' + digits + b"}")


def _short_of_length(stream: bool) -> Iterable[bytes]:
    """Return fewer bytes than announced, then the end of the connection."""
    return _sized(b'{"choices":[', stream=stream, length=1000)


def _endless_length(stream: bool) -> Iterable[bytes]:
    return _sized(b'{"choices":[', stream=stream, length=10**18)


def _negative_length(stream: bool) -> Iterable[bytes]:
    return _sized(b'{"choices":[', stream=stream, length=-1)


def _two_lengths(stream: bool) -> Iterable[bytes]:
    return _sized(b'{"choices":[]}', "content-length: 3", stream=stream)


def _chunked(*chunks: bytes) -> Callable[[bool], Iterable[bytes]]:
    def answer(stream: bool) -> Iterable[bytes]:
        yield head(EVENTS_TYPE if stream else JSON_TYPE, "transfer-encoding: chunked")
        yield from chunks

    return answer


def _endless_head(stream: bool) -> Iterable[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    for number in range(20_000):
        yield b"x-%d: %s\r\n" % (number, b"y" * 1000)


def _endless_line(stream: bool) -> Iterable[bytes]:
    """Return 64 MiB of an event that never ends."""
    yield head(EVENTS_TYPE if stream else JSON_TYPE)
    yield _EVENT if stream else b"{"
    for _ in range(1024):
        yield b" " * PIECE


def _repeated(event: bytes) -> Callable[[bool], Iterable[bytes]]:
    def answer(stream: bool) -> Iterable[bytes]:
        yield head(EVENTS_TYPE if stream else JSON_TYPE)
        piece = event * (PIECE // len(event))
        for _ in range(256):
            yield piece

    return answer


ANSWERS: dict[str, Callable[[bool], Iterable[bytes]]] = {
    "bomb": _bomb,
    "bomb_of_blank_lines": _bomb_of_blank_lines,
    "deep_json": _deep,
    "deep_error": _deep_error,
    "long_number": _long_number,
    "short_of_length": _short_of_length,
    "endless_length": _endless_length,
    "negative_length": _negative_length,
    "two_lengths": _two_lengths,
    "negative_chunk": _chunked(b"-5\r\nhello\r\n"),
    "huge_chunk": _chunked(b"ffffffffffffffff\r\n{"),
    "short_of_chunk": _chunked(b"ffff\r\n{"),
    "endless_head": _endless_head,
    "endless_line": _endless_line,
    "blank_lines": _repeated(b"\n\n"),
    "tiny_comments": _repeated(b":ab\n\n"),
    "tiny_events": _repeated(b'data: {"choices":[]}\n\n'),
}


def hostile_answer(name: str, *, stream: bool) -> Iterable[bytes]:
    """Return the pieces of an answer, after which the connection is closed."""
    return ANSWERS[name](stream)


def _post(body: bytes, *lines: str, length: int | None = None) -> bytes:
    start = ["POST /v1/chat/completions HTTP/1.1", "host: localhost", "content-type: application/json", *lines]
    if length is not None:
        start.append(f"content-length: {length}")
    return "\r\n".join([*start, "", ""]).encode() + body


def _chat(extra: bytes) -> bytes:
    return b'{"model":"lean/plain","messages":[{"role":"user","content":"hi"}]' + extra + b"}"


def hostile_requests() -> dict[str, tuple[bytes, tuple[int, ...]]]:
    """Return requests by name, each with the statuses that are right for it; 0: closed without an answer."""
    packed, deep = bomb(), nested()
    many = b',"messages":[' + b"{}," * 1_000_000 + b"{}]"
    chunked = "transfer-encoding: chunked"
    return {
        "bomb": (_post(packed, "content-encoding: gzip", length=len(packed)), (400,)),
        "deep JSON": (_post(deep, length=len(deep)), (400,)),
        "deep JSON in a member": (_post(body := _chat(b',"tools":' + deep), length=len(body)), (400,)),
        "deep JSON, 24 MiB": (_post(body := _chat(b',"tools":' + nested(12 * MIB)), length=len(body)), (400,)),
        "deep JSON as text": (
            _post(body := _chat(b',"user":' + json.dumps(deep.decode()).encode()), length=len(body)),
            (200, 400),
        ),
        "long number": (_post(body := _chat(b',"seed":' + b"9" * LONG_NUMBER), length=len(body)), (400,)),
        "a million messages": (_post(body := _chat(many), length=len(body)), (400,)),
        "shorter than its length": (_post(b'{"model":', length=1000), (408,)),
        "longer than its length": (_post(_chat(b""), length=10), (400,)),
        "endless length": (_post(b'{"model":', length=10**18), (413,)),
        "negative length": (_post(b'{"model":', length=-1), (400,)),
        "two lengths": (_post(_chat(b""), "content-length: 3", length=5), (400,)),
        "length and chunks": (_post(b"0\r\n\r\n", chunked, length=5), (400,)),
        "chunks in another coding": (_post(b"0\r\n\r\n", "transfer-encoding: gzip, chunked"), (400,)),
        "negative chunk": (_post(b"-5\r\nhello\r\n", chunked), (400,)),
        "huge chunk": (_post(b"ffffffffffffffff\r\n{", chunked), (408,)),
        "one-byte chunks, 4 MiB": (_post(b"1\r\n{\r\n" * (4 * MIB // 6), chunked), (400, 413, 431)),
        "endless head": (b"POST / HTTP/1.1\r\n" + b"x: y\r\n" * 100_000, (431,)),
        "endless line": (b"GET /" + b"a" * MIB, (414,)),
    }
