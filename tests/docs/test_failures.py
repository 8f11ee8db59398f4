"""The table of failure kinds in `docs/resilience.md` is the one of `proxy/core/failures.py`."""

from __future__ import annotations

from tools import failures


def test_table_of_failures_is_up_to_date() -> None:
    committed = failures.PAGE.read_text("utf-8")

    assert failures.page(committed) == committed, "docs/resilience.md is out of date: `make docs` writes its table"
