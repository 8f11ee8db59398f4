"""The figures of a check: one aligned line each, with its limit if there is one."""

from __future__ import annotations

from collections.abc import Sequence

import click


class Report:
    """Prints figures as they come and counts those outside their limits.

    With `full=False`, as in the short forms of the test suite, the limits of figures that depend on the load and on the
    speed of the machine (`full_only=True`) are printed but do not count.
    """

    def __init__(self, check: str, *, full: bool = True) -> None:
        self.check = check
        self.failures: list[str] = []
        self._full = full

    @property
    def failed(self) -> int:
        """The number of figures outside their limits."""
        return len(self.failures)

    def figure(self, name: str, value: object, unit: str = "") -> None:
        """Print a figure without a limit."""
        self._line(name, value, unit, "", "")

    def want(self, name: str, value: object, wanted: str, *, ok: bool, unit: str = "", full_only: bool = False) -> None:
        """Print a figure and whether it is as wanted."""
        if full_only and not self._full:
            self._line(name, value, unit, wanted, "ok" if ok else "not judged")
            return
        if not ok:
            self.failures.append(f"{name}: {_text(value)} {unit}, wanted {wanted}")
        self._line(name, value, unit, wanted, "ok" if ok else "FAILED")

    def at_most(self, name: str, value: float, most: float, unit: str = "", *, full_only: bool = False) -> None:
        """Print a figure that must not exceed `most`."""
        self.want(name, value, f"<= {_text(most)}", ok=value <= most, unit=unit, full_only=full_only)

    def at_least(self, name: str, value: float, least: float, unit: str = "", *, full_only: bool = False) -> None:
        """Print a figure that must not be less than `least`."""
        self.want(name, value, f">= {_text(least)}", ok=value >= least, unit=unit, full_only=full_only)

    def equal(self, name: str, value: object, wanted: object, unit: str = "") -> None:
        """Print a figure that must be exactly `wanted`."""
        self.want(name, value, f"= {_text(wanted)}", ok=value == wanted, unit=unit)

    def note(self, text: str) -> None:
        """Print a remark."""
        click.echo(f"  ! {text}")

    def _line(self, name: str, value: object, unit: str, wanted: str, verdict: str) -> None:
        figure = f"{_text(value)} {unit}".rstrip()
        click.echo(f"  {name:<58} {figure:>16}  {wanted:<12} {verdict}".rstrip())


def percent(part: float, whole: float) -> float:
    """Return a share in percent; of nothing it is 100."""
    return 100.0 * part / whole if whole else 100.0


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which `share` percent of the sorted values lie."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))] if ordered else 0.0


def _text(value: object) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
