"""Where a body ends, however its bytes are cut into pieces."""

from __future__ import annotations

import pytest

from proxy.core.errors import HeadTooLarge, InvalidRequest
from proxy.http.connection import Framing, Length
from proxy.http.framing import MAX_CHUNK_LINE, MAX_FRAMING, Chunks, check_coding

WHOLE = b"5;ext=1\r\nhello\r\nA\r\n0123456789\r\n0\r\nx-a: b\r\nx-c: d\r\n\r\n"


def ends(framing: Framing, data: bytes, piece: int) -> int | None:
    """Where the message ends in `data`, fed in pieces."""
    for at in range(0, len(data), piece):
        end = framing.end(data[at : at + piece])
        if end is not None:
            return at + end
    return None


@pytest.mark.parametrize("value", ["chunked", "CHUNKED", " chunked\t", ", chunked,"])
def test_a_transfer_encoding_may_be_chunked(value: str) -> None:
    check_coding(value, "1.1")


@pytest.mark.parametrize("value", ["gzip, chunked", "identity,chunked", "chunked, chunked", "", "chunked;a=b"])
def test_other_transfer_encodings_are_rejected(value: str) -> None:
    with pytest.raises(InvalidRequest, match="must be `chunked`") as caught:
        check_coding(value, "1.1")

    assert caught.value.param == "transfer-encoding"


def test_http_1_0_has_no_transfer_encoding() -> None:
    with pytest.raises(InvalidRequest, match="HTTP/1.0 has no `transfer-encoding`"):
        check_coding("chunked", "1.0")


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("body", [WHOLE, b"0\r\n\r\n", b"000\r\n\r\n", b"1\r\n\n\r\n0;a\r\n\r\n"])
def test_a_chunked_body_ends_after_its_trailers(body: bytes, piece: int) -> None:
    assert ends(Chunks(), body + b"GET / HTTP/1.1\r\n", piece) == len(body)


@pytest.mark.parametrize("piece", [1, 4, 1000])
def test_a_body_with_a_length_ends_after_it(piece: int) -> None:
    assert ends(Length(5), b"helloGET", piece) == 5


@pytest.mark.parametrize("piece", [1, 1000])
def test_a_body_without_its_end_continues(piece: int) -> None:
    assert ends(Chunks(), WHOLE[:-1], piece) is None
    assert ends(Length(9), b"hello", piece) is None


@pytest.mark.parametrize("data", [b"x\r\n", b"\r\n", b"-;\r\n", b"-6\r\n", b"+5\r\n", b";\r\n"])
def test_chunks_without_a_size_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest):
        Chunks().end(data)


@pytest.mark.parametrize(
    "data",
    [
        b"1;" + b"a" * MAX_CHUNK_LINE,
        b"0\r\n" + b"a" * (MAX_CHUNK_LINE + 1),
        b"0\r\n" + b"a: b\r\n" * (MAX_FRAMING // 6 + 1),
        b"fffff\r\n" + b"a" * 0xFFFFF + b"\r\n0\r\n" + b"a: b\r\n" * (MAX_FRAMING // 6 + 1),
        b"1;aaaa\r\na\r\n" * (MAX_FRAMING // 7),
        b"1\r\na\r\n" * (MAX_FRAMING // 2),
    ],
    ids=["extension", "trailer", "trailers", "trailers of a large body", "extensions", "tiny chunks"],
)
def test_framing_that_outweighs_its_data_is_refused(data: bytes) -> None:
    with pytest.raises(HeadTooLarge):
        Chunks().end(data)


def test_large_chunks_may_be_many() -> None:
    assert Chunks().end(b"40\r\n" + b"a" * 64 + b"\r\n") is None
    assert ends(Chunks(), (b"40\r\n" + b"a" * 64 + b"\r\n") * 50_000 + b"0\r\n\r\n", 65536) == 70 * 50_000 + 5
