"""Tests of proxy/core/decisions.py."""

from __future__ import annotations

import json
import zlib

import pytest

from proxy.core.decisions import LONG, kept, read_decision

SHORT = {"chosen": "a/b"}
WIDE = {"candidates": [{"provider": "a", "model": str(at), "status": "fallback"} for at in range(40)]}


def test_a_short_record_is_kept_as_json() -> None:
    text = json.dumps(SHORT).encode()

    assert kept(text) == text
    assert read_decision(text) == SHORT


def test_a_long_record_is_compressed() -> None:
    text = json.dumps(WIDE).encode()

    assert len(text) > LONG > len(kept(text))
    assert read_decision(kept(text)) == WIDE


@pytest.mark.parametrize("damaged", [b"", b"{", b"[1]", b"x", zlib.compress(b"[1]"), zlib.compress(b'{"a":1}')[:5]])
def test_a_damaged_record_is_an_error(damaged: bytes) -> None:
    with pytest.raises(ValueError, match="."):
        read_decision(damaged)


def test_no_record_is_read_without_bounds() -> None:
    with pytest.raises(ValueError, match="."):
        read_decision(zlib.compress(b'{"a":"' + b" " * 10_000_000 + b'"}'))
