"""Whether a schema's regular expressions can be read, since a target refuses the whole schema for one that cannot."""

from __future__ import annotations

import functools
import re
import warnings

_MOST = 4096  # characters of the patterns of one schema


class Patterns:
    """The check of one schema's patterns. A schema with more of them than can be checked loses those that remain."""

    def __init__(self) -> None:
        self._left = _MOST

    def takes(self, pattern: str) -> bool:
        """Whether a pattern is a regular expression for Python, which is the syntax that JSON Schema recommends."""
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
