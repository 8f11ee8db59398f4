"""The typed view of a block's piece changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.dialects.anthropic import stream as anthropic_stream
from proxy.dialects.anthropic.typed import block_delta_of
from proxy.dialects.base import Decoder
from tests.support.exact import ODD_VALUES, states
from tests.unit.dialects.anthropic.build import END, WEATHER, call, dialect, event, start, stop, target

OPENINGS: tuple[dict[str, Any], ...] = (
    {"type": "text", "text": ""},
    {"type": "thinking", "thinking": "", "signature": "s"},
    {"type": "tool_use", "id": "t", "name": "get_weather", "input": {}},
    {"type": "server_tool_use", "id": "u", "name": "web_search", "input": {}},
)
PIECES = ("text_delta", "thinking_delta", "input_json_delta", "signature_delta", "new_delta")
MEMBERS = ("text", "thinking", "partial_json", "signature", "citation", "type", "x", "x\udcff")
BEFORE = start() + b"".join(
    event("content_block_start", index=index, content_block=opening) for index, opening in enumerate(OPENINGS)
)


def piece(index: object, kind: str, member: str, value: str, more: str = "") -> bytes:
    delta = f'{{"type": "{kind}", "{member}": {value}}}'
    text = (
        f'event: content_block_delta\ndata: {{"type":"content_block_delta","index":{index},"delta":{delta}{more}}}\n\n'
    )
    return text.encode("utf-8", "surrogateescape")


def odd_pieces() -> list[bytes]:
    pieces = [piece(index, kind, "text", '"x"') for index in (0, 1, 2, 3, 7) for kind in PIECES]
    for value in ODD_VALUES:
        pieces += [piece(index, kind, member, value) for index in range(4) for kind in PIECES for member in MEMBERS]
        pieces.append(piece(value, "text_delta", "text", '"x"'))
        pieces += [
            piece(0, "text_delta", "text", '"x"', f', "{name}": {value}') for name in ("error", "type", "delta", "x")
        ]
    return pieces


def opened() -> Decoder:
    return dialect().decoder(call(stream=True, tools=[WEATHER]), target(), {})


def test_odd_pieces_are_read_as_without_typed_views(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = odd_pieces()
    typed = [states(opened(), [BEFORE, odd + odd, stop("tool_use") + END]) for odd in pieces]
    monkeypatch.setattr(anthropic_stream, "block_delta_of", lambda event: None)
    exact = [states(opened(), [BEFORE, odd + odd, stop("tool_use") + END]) for odd in pieces]

    assert [odd for odd, one, other in zip(pieces, typed, exact, strict=True) if one != other] == []


@pytest.mark.parametrize(
    ("kind", "member"), [("text_delta", "text"), ("thinking_delta", "thinking"), ("input_json_delta", "partial_json")]
)
def test_ordinary_pieces_fit(kind: str, member: str) -> None:
    assert block_delta_of(piece(0, kind, member, '"\u00e9"')) is not None


@pytest.mark.parametrize(("kind", "member"), [("signature_delta", "signature"), ("citations_delta", "citation")])
def test_other_pieces_do_not_fit(kind: str, member: str) -> None:
    assert block_delta_of(piece(0, kind, member, '"x"')) is None
