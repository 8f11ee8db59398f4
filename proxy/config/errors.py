"""Configuration problems with file, line, path and remedy.

A problem never contains a value from the file, because a value may be a secret. It may contain names of keys, models
and variables.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

_MAX_CANDIDATES = 1000  # comparing is slow, and suggestions are optional


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem. `where` is a dotted path such as `models[2].tier`, empty for the whole file."""

    file: str
    line: int | None
    where: str
    message: str

    def __str__(self) -> str:
        position = self.file if self.line is None else f"{self.file}:{self.line}"
        return ": ".join(part for part in (position, self.where, self.message) if part)


class ConfigError(Exception):
    """The configuration is not valid. The message has one line per problem."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def suggestion(word: str, candidates: Iterable[str]) -> str:
    """`; did you mean ...?` with the nearest candidate, or an empty text."""
    import difflib  # only for problems: most files have none

    nearest = difflib.get_close_matches(word, list(islice(candidates, _MAX_CANDIDATES)), n=1)
    return f"; did you mean `{nearest[0]}`?" if nearest else ""
