"""The figures of a check: one aligned line each, with what is wanted of it, if anything."""

from __future__ import annotations

from collections.abc import Sequence

import click


class Report:
    """Prints figures as they come, and remembers whether one was not as wanted."""

    def __init__(self, check: str) -> None:
        self.check = check
        self.failed = 0

    def figure(self, name: str, value: object, unit: str = "") -> None:
        """A figure that nothing is wanted of."""
        self._line(name, value, unit, "", "")

    def want(self, name: str, value: object, wanted: str, *, ok: bool, unit: str = "") -> None:
        """A figure, and whether it is as wanted."""
        self.failed += not ok
        self._line(name, value, unit, wanted, "ok" if ok else "FAILED")

    def at_most(self, name: str, value: float, most: float, unit: str = "") -> None:
        """A figure that must not be larger."""
        self.want(name, value, f"<= {_text(most)}", ok=value <= most, unit=unit)

    def at_least(self, name: str, value: float, least: float, unit: str = "") -> None:
        """A figure that must not be smaller."""
        self.want(name, value, f">= {_text(least)}", ok=value >= least, unit=unit)

    def equal(self, name: str, value: object, wanted: object, unit: str = "") -> None:
        """A figure that must be exactly this."""
        self.want(name, value, f"= {_text(wanted)}", ok=value == wanted, unit=unit)

    def note(self, text: str) -> None:
        """A line that helps to understand the figures."""
        click.echo(f"{self.check:<6} ! {text}")

    def _line(self, name: str, value: object, unit: str, wanted: str, verdict: str) -> None:
        figure = f"{_text(value)} {unit}".rstrip()
        click.echo(f"{self.check:<6} {name:<52} {figure:>16}  {wanted:<12} {verdict}".rstrip())


def percent(part: float, whole: float) -> float:
    """A share in percent; of nothing it is everything."""
    return 100.0 * part / whole if whole else 100.0


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value that `share` percent are not above; `ordered` is sorted."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))] if ordered else 0.0


def _text(value: object) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
