"""Tests of proxy/routing/tokens.py."""

from __future__ import annotations

from pathlib import Path

import tiktoken

from proxy.core.estimate import estimate_tokens
from proxy.routing.tokens import LONGEST, cached_name, exact, token_counter


def test_without_a_folder_tokens_are_estimated() -> None:
    assert token_counter(None) is estimate_tokens
    assert token_counter("") is estimate_tokens


def test_a_missing_encoding_is_not_downloaded(tmp_path: Path) -> None:
    assert token_counter(str(tmp_path)) is estimate_tokens

    assert list(tmp_path.iterdir()) == []


def test_a_damaged_encoding_is_not_used(tmp_path: Path) -> None:
    (tmp_path / cached_name()).write_text("not an encoding")

    assert token_counter(str(tmp_path)) is estimate_tokens
    assert (tmp_path / cached_name()).read_text() == "not an encoding"  # it was not replaced by a download


def test_an_encoding_counts_exactly_up_to_a_length() -> None:
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"ab": 256}
    encoding = tiktoken.Encoding("tiny", pat_str=r"\S+|\s+", mergeable_ranks=ranks, special_tokens={})
    count = exact(encoding.encode_ordinary)

    assert count("abab") == 2
    assert count("<|endoftext|>") == len("<|endoftext|>")  # text, never a special token
    assert count("a" * (LONGEST + 1)) == estimate_tokens("a" * (LONGEST + 1))
