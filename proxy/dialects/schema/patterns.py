"""Validation of a schema's regular expressions, because a target rejects the whole schema for an invalid one."""

from __future__ import annotations

import functools
import re
import warnings

_MOST = 4096  # characters of the patterns of one schema


class Patterns:
    """Validates the patterns of one schema, up to a total length; further patterns count as invalid."""

    def __init__(self) -> None:
        self._left = _MOST

    def takes(self, pattern: str) -> bool:
        """Whether a pattern is a valid Python regular expression, which resembles the syntax of JSON Schema."""
        self._left -= len(pattern)
        return self._left >= 0 and _compiles(pattern)


@functools.lru_cache(maxsize=512)
def _compiles(pattern: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return False
    return True
