"""Compressed answers, in bounded pieces."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import AsyncGenerator

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.upstream.net.decode import MAX_FRUITLESS, PIECE, is_packed, unpacked

pytestmark = pytest.mark.anyio

TEXT = b'{"choices": "' + bytes(range(32, 127)) * 50 + b'"}'


def bare(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKED = {
    ("gzip", "one member"): gzip.compress(TEXT),
    ("gzip", "two members"): gzip.compress(TEXT[:99]) + gzip.compress(TEXT[99:]),
    ("x-gzip", "by its old name"): gzip.compress(TEXT),
    ("deflate", "zlib"): zlib.compress(TEXT),
    ("deflate", "bare"): bare(TEXT),
}


async def pieces(*data: bytes) -> AsyncGenerator[bytes, None]:
    for piece in data:
        yield piece


async def text(encoding: str, *data: bytes) -> bytes:
    return b"".join([piece async for piece in unpacked(encoding, pieces(*data))])


def test_only_other_encodings_need_unpacking() -> None:
    assert [is_packed(name) for name in (None, "", " Identity ", "gzip", "br")] == [False, False, False, True, True]


@pytest.mark.parametrize("case", PACKED, ids=" ".join)
async def test_content_comes_out_however_it_is_cut(case: tuple[str, str]) -> None:
    packed = PACKED[case]

    for size in (1, 7, len(packed)):
        assert await text(case[0], *(packed[at : at + size] for at in range(0, len(packed), size))) == TEXT


async def test_stream_is_passed_on_as_it_comes() -> None:
    packer = zlib.compressobj(wbits=31)
    data = [packer.compress(each) + packer.flush(zlib.Z_SYNC_FLUSH) for each in (b"one", b"two")]

    assert [piece async for piece in unpacked("gzip", pieces(*data))] == [b"one", b"two"]


async def test_bomb_unfolds_in_bounded_pieces() -> None:
    size = 40 * 1024 * 1024
    bomb = gzip.compress(bytes(size))
    total = largest = 0

    tracemalloc.start()
    async for piece in unpacked("gzip", pieces(bomb)):
        total += len(piece)
        largest = max(largest, len(piece))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (total, largest <= PIECE) == (size, True)
    assert peak < 2 * 1024 * 1024


async def test_others_have_a_turn_between_pieces_of_a_bomb() -> None:
    bomb = gzip.compress(bytes(100 * PIECE))
    turns = [0]

    async def other() -> None:
        while True:
            turns[0] += 1
            await asyncio.sleep(0)

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        async for _ in unpacked("gzip", pieces(bomb)):
            pass
        group.cancel_scope.cancel()

    assert turns[0] >= 99


async def test_what_unpacks_to_nothing_is_cut_off() -> None:
    packer = zlib.compressobj(wbits=31)
    nothing = packer.compress(b"") + packer.flush(zlib.Z_SYNC_FLUSH)
    empty = packer.flush(zlib.Z_FULL_FLUSH) or b"\x00\x00\x00\xff\xff"

    with pytest.raises(UpstreamFailure, match="no content") as failed:
        await text("gzip", nothing, *[empty * 1000] * (MAX_FRUITLESS // len(empty) // 1000 + 2))

    assert failed.value.kind is FailureKind.MALFORMED


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, br", "x" * 500])
async def test_unknown_encoding_is_malformed(encoding: str) -> None:
    with pytest.raises(UpstreamFailure) as failed:
        await text(encoding, b"x")

    assert (failed.value.kind, len(str(failed.value)) < 150) == (FailureKind.MALFORMED, True)


@given(st.sampled_from(["gzip", "deflate"]), st.lists(st.binary(), max_size=5))
async def test_any_bytes_are_content_or_malformed(encoding: str, data: list[bytes]) -> None:
    try:
        await text(encoding, *data)
    except UpstreamFailure as failure:
        assert failure.kind is FailureKind.MALFORMED  # noqa: PT017


async def test_source_is_closed_with_the_content() -> None:
    closed = False

    async def source() -> AsyncGenerator[bytes, None]:
        nonlocal closed
        try:
            while True:
                yield gzip.compress(b"x")
        finally:
            closed = True

    content = unpacked("gzip", source())
    assert await anext(content) == b"x"
    await content.aclose()

    assert closed
