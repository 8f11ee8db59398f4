"""The frames of WebSocket: what a client of another implementation sends is read, whatever its pieces are."""

from __future__ import annotations

from contextlib import suppress
from itertools import cycle

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame
from websockets.frames import Opcode as Reference
from websockets.protocol import CLIENT, Protocol, State

from proxy.http.websocket.frames import FrameError, FrameReader, Opcode, close_frame, frame
from tests.support.fakes import cut

TEXTS = st.lists(st.tuples(st.text(max_size=300), st.integers(1, 5)), max_size=5)
LIMIT = 100_000


def client_bytes(text: bytes, fragments: int) -> bytes:
    """A text in some fragments, with a ping between them."""
    size = len(text) // fragments + 1
    pieces = [text[at : at + size] for at in range(0, len(text), size)] or [b""]
    data = b""
    for place, piece in enumerate(pieces):
        kind = Reference.CONT if place else Reference.TEXT
        data += Frame(kind, piece, fin=place == len(pieces) - 1).serialize(mask=True)
        data += Frame(Reference.PING, b"%d" % place).serialize(mask=True)
    return data


@given(TEXTS, st.lists(st.integers(1, 90), min_size=1, max_size=9))
def test_texts_are_read_whatever_the_pieces(texts: list[tuple[str, int]], sizes: list[int]) -> None:
    reader = FrameReader(LIMIT)
    data = b"".join(client_bytes(text.encode(), fragments) for text, fragments in texts)

    read = [message for piece in cut(data, cycle(sizes)) for message in reader.feed(piece)]

    assert [payload.decode() for opcode, payload in read if opcode is Opcode.TEXT] == [text for text, _ in texts]
    assert reader.size == 0


@given(st.binary(max_size=600))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    reader = FrameReader(200)
    read: list[tuple[Opcode, bytes]] = []
    with suppress(FrameError):
        read.extend(reader.feed(data))

    assert all(opcode in (Opcode.TEXT, Opcode.CLOSE, Opcode.PING, Opcode.PONG) for opcode, _ in read)
    assert all(len(payload) <= 200 for _, payload in read)


@given(st.lists(st.binary(max_size=200) | st.just(b"x" * 70_000)))
def test_another_implementation_reads_what_is_written(texts: list[bytes]) -> None:
    client = Protocol(CLIENT, state=State.OPEN, max_size=None)
    client.receive_data(b"".join(frame(Opcode.TEXT, text) for text in texts) + close_frame(1001, "bye"))

    *read, last = client.events_received()

    assert [each.data for each in read if isinstance(each, Frame)] == texts
    assert isinstance(last, Frame)
    assert (last.opcode, last.data) == (Reference.CLOSE, b"\x03\xe9bye")
