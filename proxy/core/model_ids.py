"""Ids of models as vendors write them."""

import re

_DATE = re.compile(r"-20\d\d(?:-\d\d-\d\d|\d{4})$", re.ASCII)


def undated(model: str) -> str:
    """The id without a date at its end: `gpt-5-2025-08-07` and `claude-haiku-4-5-20251001` are snapshots."""
    return _DATE.sub("", model)
