"""Output of commands: aligned tables, or JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click


def echo_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as lines with aligned columns; numbers are aligned to the right."""
    cells = [[text(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(line[at]) for line in ([*columns], *cells)) for at in range(len(columns))]
    right = [bool(rows) and all(_is_number(row.get(column)) for row in rows) for column in columns]
    return "\n".join(_line(line, widths, right) for line in ([*columns], *cells))


def block(value: Mapping[str, Any]) -> str:
    """Return the fields of one object, one a line."""
    width = max(map(len, value))
    return "\n".join(f"{name:<{width}}  {text(field)}" for name, field in value.items())


def text(value: Any) -> str:
    """Return one value for a table; nothing is `-`."""
    if isinstance(value, Mapping):
        if "usd" in value and "period" in value:
            return f"{value['usd']:g} USD/{value['period']}{'' if value['hard'] else ' soft'}"
        shown = [f"{name}={text(item)}" for name, item in value.items() if item is not None]
        return " ".join(shown) or "-"
    if isinstance(value, list | tuple):
        return ",".join(map(text, value)) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.9f}".rstrip("0").rstrip(".") if abs(value) < 1e15 else f"{value:g}"
    return "-" if value is None or value == "" else _printable(str(value))


def _printable(value: str) -> str:
    """Return a text that cannot control the terminal."""
    return "".join(character if character.isprintable() else "?" for character in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = [
        cell.rjust(width) if is_right else cell.ljust(width)
        for cell, width, is_right in zip(cells, widths, right, strict=True)
    ]
    return "  ".join(padded).rstrip()
