"""The report of a replay as one HTML page without scripts or requests: figures, plots in SVG, and tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

_WIDTH, _BAR, _GAP = 720, 14, 10
_LABEL = 250  # of a bar, in pixels
_OLD, _NEW = "#9aa5b1", "#2563eb"
_MOST = 40  # rows of a table or bars of a plot
_STYLE = """
body{font:14px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1f2933}
table{border-collapse:collapse;width:100%;margin:1rem 0}
th,td{padding:.25rem .6rem;border-bottom:1px solid #e4e7eb;text-align:right}
th:first-child,td:first-child,.text{text-align:left}
svg text{font:12px system-ui,sans-serif;fill:#1f2933}
.key span{display:inline-block;width:.8rem;height:.8rem;margin:0 .3rem 0 1rem}
"""
Row = Mapping[str, Any]


def page(report: Mapping[str, Any], title: str) -> str:
    """Return the page."""
    return "\n".join(
        (
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>",
            f"<p>{escape(summary(report))}</p>",
            _table(("", "before", "after", "change", ""), figures(report)),
            f'<p class="key">{_key(_OLD, "before")}{_key(_NEW, "after")}</p>',
            "<h2>Cost by day, USD</h2>",
            _bars(report["days"], "day", "cost_before_usd", "cost_after_usd", "{:,.4f}"),
            "<h2>Calls by model</h2>",
            _bars(report["models"], "model", "calls_before", "calls_after", "{:,}"),
            "<h2>Cost by model, USD</h2>",
            _bars(report["models"], "model", "cost_before_usd", "cost_after_usd", "{:,.4f}"),
            "<h2>Which calls move</h2>",
            _moves(report["moves"]),
            "<h2>Calls that are rejected</h2>",
            _table(("reason", "calls"), report["rejections"]["by_reason"].items()),
            "<h2>Calls that were not replayed</h2>",
            _table(("reason", "calls"), report["calls"]["skipped"].items()),
            "</body></html>",
        )
    )


def figures(report: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Return the figures of both sides as text: name, before, after, change, share."""
    calls = report["calls"]
    answered = (calls["answered_before"], calls["answered_after"])
    rows = [("answered calls", f"{answered[0]:,}", f"{answered[1]:,}", f"{answered[1] - answered[0]:+,}", "")]
    for name, member, form in (
        ("cost, USD", "cost_usd", ",.6f"),
        ("mean latency, ms", "latency_ms", ",.1f"),
        ("mean predicted success", "success", ".4f"),
    ):
        sides = report[member]
        if sides["before"] is not None:
            share = "" if sides["share"] is None else f"{sides['share']:+.1%}"
            before, after, change = (format(sides[each], form) for each in ("before", "after", "change"))
            rows.append((name, before, after, change if change.startswith("-") else f"+{change}", share))
    return rows


def summary(report: Mapping[str, Any]) -> str:
    """Return what was replayed, in one sentence."""
    calls = report["calls"]
    if not calls["replayed"]:
        return "No call was replayed."
    return (
        f"{calls['replayed']:,} of {calls['recorded']:,} recorded calls, from {report['first_call']} to "
        f"{report['last_call']}; {calls['moved']:,} go to another model, {report['rejections']['new']:,} are rejected."
    )


def _moves(moves: Sequence[Row]) -> str:
    rows = [
        (
            row["from"],
            row["to"],
            f"{row['calls']:,}",
            f"{row['cost_before_usd']:,.6f}",
            f"{row['cost_after_usd']:,.6f}",
            "" if row["success_change"] is None else f"{row['success_change']:+.4f}",
        )
        for row in moves[:_MOST]
    ]
    return _table(("from", "to", "calls", "USD before", "USD after", "success"), rows)


def _table(columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    lines = ["".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in rows]
    if not lines:
        return "<p>None.</p>"
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _bars(rows: Sequence[Row], name: str, before: str, after: str, form: str) -> str:
    """Return a plot with two horizontal bars for each row."""
    shown = sorted(rows, key=lambda row: -max(row[before], row[after]))[:_MOST] if name != "day" else rows[-_MOST:]
    most = max((max(row[before], row[after]) for row in shown), default=0) or 1
    scale = (_WIDTH - _LABEL - 110) / most
    parts = []
    for at, row in enumerate(shown):
        top = at * (2 * _BAR + _GAP)
        parts.append(f'<text x="0" y="{top + _BAR + 4}">{escape(str(row[name])[:38])}</text>')
        for offset, member, colour in ((0, before, _OLD), (_BAR, after, _NEW)):
            width = max(row[member] * scale, 0.5)
            parts.append(
                f'<rect x="{_LABEL}" y="{top + offset}" width="{width:.1f}" height="{_BAR - 2}" fill="{colour}"/>'
                f'<text x="{_LABEL + width + 6:.1f}" y="{top + offset + _BAR - 3}">{form.format(row[member])}</text>'
            )
    height = len(shown) * (2 * _BAR + _GAP)
    return (
        f'<svg width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" role="img">{"".join(parts)}</svg>'
        if shown
        else "<p>None.</p>"
    )


def _key(colour: str, text: str) -> str:
    return f'<span style="background:{colour}"></span>{escape(text)}'
