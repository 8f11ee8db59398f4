"""Ids of models in the notation of vendors."""

import re

_DATE = re.compile(r"-20\d\d(?:-\d\d-\d\d|\d{4})$", re.ASCII)


def undated(model: str) -> str:
    """Return the id without a date at its end, as in `gpt-5-2025-08-07` or `claude-haiku-4-5-20251001`."""
    return _DATE.sub("", model)
