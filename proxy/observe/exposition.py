"""Families of metrics, and their sum over several processes.

A series is named by its text, such as `signalbox_tokens_total{kind="input",model="small",provider="acme"}`, which is
compared as a string where processes are merged.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

METRICS = "metrics"  # what a worker asks the others for at a scrape

Kind = Literal["counter", "gauge", "histogram"]
Combine = Literal["sum", "max", "min"]
_COMBINE = {"max": max, "min": min}


@dataclass(slots=True)
class Family:
    """One metric: its values by series, and how the values of several processes are combined."""

    name: str
    kind: Kind
    text: str
    values: dict[str, float] = field(default_factory=dict)
    combine: Combine = "sum"


def series(name: str, labels: Iterable[tuple[str, str]] = ()) -> str:
    """Return the text of a series; labels are sorted by name."""
    pairs = ",".join([f'{label}="{_quoted(value)}"' for label, value in sorted(labels)])
    return f"{name}{{{pairs}}}" if pairs else name


def exported(families: Iterable[Family], *, zeros: bool = False) -> bytes:
    """Return families in a form that `merged` reads; without `zeros`, without the counters that are 0."""
    rows = []
    for family in families:
        values = family.values
        if family.kind == "counter" and not zeros:
            values = {name: value for name, value in values.items() if value}
        rows.append([family.name, family.kind, family.text, values, family.combine])
    return json.dumps(rows, separators=(",", ":")).encode()


def merged(own: Iterable[Family], exports: Sequence[bytes]) -> list[Family]:
    """Add to `own` what other processes have exported: counters and histograms are summed, gauges as they say."""
    families = {family.name: family for family in own}
    for export in exports:
        for name, kind, text, values, combine in json.loads(export):
            if (family := families.get(name)) is None:
                families[name] = Family(name, kind, text, values, combine)
            else:
                _add(family, values)
    return list(families.values())


def retired(exports: Sequence[bytes]) -> bytes:
    """Combine what ended processes have exported: their counters and histograms stay, their gauges are gone."""
    return exported([family for family in merged([], exports) if family.kind != "gauge"])


def _add(family: Family, values: dict[str, float]) -> None:
    combine = _COMBINE.get(family.combine)
    mine = family.values
    for name, value in values.items():
        if name not in mine:
            mine[name] = value
        else:
            mine[name] = mine[name] + value if combine is None else combine(mine[name], value)


def _quoted(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
