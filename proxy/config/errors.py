"""What is wrong with a configuration, said so that it can be mended: file, line, place, and the way out.

A problem never holds a value that was written in the file, because a value may be a secret; names of keys, models and
variables are what it may show.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

_MAX_CANDIDATES = 1000  # comparing is slow, and a suggestion is a courtesy


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `where` is a dotted path such as `models[2].tier`, empty for the file as a whole."""

    file: str
    line: int | None
    where: str
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return ": ".join(part for part in (place, self.where, self.message) if part)


class ConfigError(Exception):
    """A configuration that cannot be used; its text is one line a problem."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def suggestion(word: str, candidates: Iterable[str]) -> str:
    """`; did you mean ...?` for the nearest candidate, else nothing."""
    nearest = difflib.get_close_matches(word, list(islice(candidates, _MAX_CANDIDATES)), n=1)
    return f"; did you mean `{nearest[0]}`?" if nearest else ""
