"""Writes the table of failure kinds in `docs/resilience.md` from `VERDICTS` in `proxy/core/failures.py`."""

from __future__ import annotations

import sys
from pathlib import Path

from proxy.core.failures import FREE, VERDICTS, Rank, Verdict

PAGE = Path(__file__).resolve().parents[1] / "docs" / "resilience.md"
BEGIN, END = "<!-- begin: failures -->\n", "<!-- end: failures -->\n"
_RANKS = {
    Rank.WAIT: "1: a later retry can avoid it",
    Rank.REQUEST: "2: of the client's own request",
    Rank.TRANSIENT: "3: may pass by itself",
    Rank.OPERATOR: "4: an operator must fix it",
    Rank.UNSENT: "5: could not be sent",
}


def table() -> str:
    """Return the table in Markdown."""
    lines = [
        "| `outcome` | the client receives it | the next attempt | tokens used | a list of models shows it |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [_row(kind.value, verdict) for kind, verdict in VERDICTS.items()]
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """Return the page with the table in place of the one between the marks."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


def _row(name: str, verdict: Verdict) -> str:
    free = "is free" if verdict.failure_class in FREE else "uses the retry budget"
    cells = (
        f"`{name}`",
        _RANKS[verdict.rank],
        free if verdict.fall_back or verdict.other_key else "",
        "none" if verdict.known_cost else "unknown",
        "yes" if verdict.shown_by_list else "",
    )
    return f"| {' | '.join(cells)} |"


def main() -> int:
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
