"""Every regular expression that runs on text from outside takes time in proportion to that text.

Python's `re` backtracks, so a repeat without an upper bound that is followed by something that may fail can make a
search quadratic, and one inside another exponential. The test looks at the patterns themselves, and measures no time.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable, Iterator
from re import _constants as kinds  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import pytest

import proxy

LONGEST_REPEAT = 500
REPEATS = (kinds.MAX_REPEAT, kinds.MIN_REPEAT, kinds.POSSESSIVE_REPEAT)

# Unbounded repeats that are followed by something, and are linear for another reason.
LINEAR = {
    "proxy.http.protocol._UPGRADE": "the repeat begins after a fixed word, so each character is read once",
    "proxy.http.guard._HOST": "matched from the start only, and nothing that follows begins as the repeat does",
    "proxy.core.multipart._NAME": "anchored at the start of a line, on at most 8 KiB of headers",
    "proxy.core.multipart._FILE": "anchored at the start of a line, on at most 8 KiB of headers",
    "proxy.dialects.anthropic.tools._SERVER_TOOL": "matched from the start only, with a tail of fixed length",
    "proxy.dialects.blame._QUOTED": "each repeat stops at the next quotation mark, on at most 4000 characters",
    "proxy.upstream.net.connection._FIELD": "the repeats are possessive, but for that of the value, which reads a line",
    "proxy.observe.prometheus._LABEL": "reads the names of our own series, whose labels are bounded",
    "proxy.routing.classify.features.TOKEN": "what follows the repeat may be missing, so it never fails",
    "proxy.learning.languages._CODE": "what follows the repeat may be the end of the text, so it never fails",
    "proxy.mock.wire._WORDS": "what follows the repeat may be empty, so it never fails",
}


def patterns() -> Iterator[tuple[str, re.Pattern[Any]]]:
    for found in pkgutil.walk_packages(proxy.__path__, "proxy."):
        if found.name.startswith(
            ("proxy.config", "proxy.catalogue", "proxy.commands", "proxy.replay", "proxy.__main__")
        ):
            continue  # what an operator writes is no attack
        if found.name == "proxy.store.migrations.env":
            continue  # Alembic runs it; it cannot be imported
        for name, value in vars(importlib.import_module(found.name)).items():
            if isinstance(value, re.Pattern):
                yield f"{found.name}.{name}", value


def faults(pattern: str | bytes, flags: int = 0) -> list[str]:
    text = pattern.decode("latin-1") if isinstance(pattern, bytes) else pattern
    return list(_faults(parser.parse(text, flags), last=True, inside=False))


def _faults(items: Iterable[Any], *, last: bool, inside: bool) -> Iterator[str]:
    """`last`: nothing follows that could fail and send the match back; `inside`: within an unbounded repeat."""
    found = list(items)
    for place, (kind, argument) in enumerate(found):
        ends = last and place == len(found) - 1
        if kind in REPEATS:
            _, most, repeated = argument
            unbounded = most is kinds.MAXREPEAT or most > LONGEST_REPEAT
            if unbounded and inside:
                yield "an unbounded repeat inside another"
            if unbounded and not ends:
                yield "an unbounded repeat that something follows"
            yield from _faults(repeated, last=ends and most == 1, inside=inside or unbounded)
        elif kind is kinds.BRANCH:
            for branch in argument[1]:
                yield from _faults(branch, last=ends, inside=inside)
        elif kind is kinds.SUBPATTERN:
            yield from _faults(argument[3], last=ends, inside=inside)
        elif kind in (kinds.ASSERT, kinds.ASSERT_NOT):
            yield from _faults(argument[1], last=False, inside=inside)


@pytest.mark.parametrize("pattern", [r"(\d+)\s", r"(?:a+)+", r"(?:a+|b)c", r"\s+$", r"\s*\W*", r"(?=a*b)c"])
def test_a_pattern_that_may_be_slow_is_seen(pattern: str) -> None:
    assert faults(pattern)


@pytest.mark.parametrize("pattern", [r"\d{1,12}s", r"[a-z]+|\d+", r"ab?c", r"(?:x|y[ \t]*)"])
def test_a_linear_pattern_passes(pattern: str) -> None:
    assert not faults(pattern)


def test_every_pattern_on_outside_text_is_linear() -> None:
    slow = {name: faults(pattern.pattern, pattern.flags & re.VERBOSE) for name, pattern in patterns()}

    assert {name: found for name, found in slow.items() if found and name not in LINEAR} == {}


def test_every_exception_names_a_pattern() -> None:
    assert LINEAR.keys() <= {name for name, _ in patterns()}
