"""A short run of the fuzzer, by number of cases; `python -m tests.fuzz.decoders` runs it for as long as one likes."""

from __future__ import annotations

import pytest

from tests.fuzz.decoders import KINDS, cases

CASES = 1500


@pytest.mark.parametrize("name", KINDS)
def test_decoders_raise_only_upstream_failures(name: str) -> None:
    assert cases(KINDS[name], seed=3, count=CASES) == []
