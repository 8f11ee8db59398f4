"""Messages are the same however their bytes are cut."""

from __future__ import annotations

import pytest

from proxy.workers.messages import Decoder, Message, encode

MESSAGES: list[Message] = [{"kind": "ready"}, {"kind": "ask", "id": 1, "body": "é" * 500}, {"kind": "drain"}]


@pytest.mark.parametrize("size", [1, 3, 7, 100_000])
def test_messages_do_not_depend_on_how_bytes_arrive(size: int) -> None:
    data = b"".join(map(encode, MESSAGES))
    decoder = Decoder()

    seen = [message for at in range(0, len(data), size) for message in decoder.feed(data[at : at + size])]

    assert seen == MESSAGES
