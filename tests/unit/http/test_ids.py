"""Ids of calls."""

from __future__ import annotations

import re

from proxy.http.ids import Ids


def test_ids_are_unique_within_a_process_and_between_processes() -> None:
    one, two = Ids(), Ids()

    made = [ids.new() for ids in (one, two) for _ in range(1000)]

    assert len(set(made)) == 2000


def test_an_id_is_one_word_that_any_header_takes() -> None:
    assert re.fullmatch(r"req_[0-9a-f]{24}", Ids().new())
