"""The report of a replay: sums over its outcomes, as JSON values."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from proxy.core.money import usd
from proxy.core.timestamps import iso
from proxy.replay.replay import Outcome, Served

_DAY = 86_400_000_000  # microseconds
NONE = "-"  # in place of a model, where no target answers


@dataclass(slots=True)
class Side:
    """Sums of one side, before or after."""

    calls: int = 0
    nusd: int = 0

    def add(self, served: Served | None, *, with_cost: bool) -> None:
        """Count a call, if it is answered on this side."""
        if served is not None:
            self.calls += 1
            if with_cost:
                self.nusd += served.cost_nusd or 0


@dataclass(slots=True)
class Pair:
    """Both sides of a group of calls."""

    before: Side = field(default_factory=Side)
    after: Side = field(default_factory=Side)
    moved: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count a call on each side on which it is answered."""
        self.before.add(outcome.before, with_cost=_counts_cost(outcome))
        self.after.add(outcome.after, with_cost=_counts_cost(outcome))
        self.moved += outcome.moved

    def as_json(self) -> dict[str, Any]:
        """Return the sums."""
        return {
            "calls_before": self.before.calls,
            "calls_after": self.after.calls,
            "moved": self.moved,
            "cost_before_usd": usd(self.before.nusd),
            "cost_after_usd": usd(self.after.nusd),
        }


class Report:
    """Collects outcomes."""

    def __init__(self) -> None:
        self.calls = 0
        self.replayed = 0
        self.moved = 0
        self.unpriced = 0
        self.queued = 0
        self._served_now = 0
        self._skipped: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()  # calls that were answered
        self._total = Pair()
        self._moves: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
        self._models: dict[str, Pair] = defaultdict(Pair)
        self._routes: dict[str, Pair] = defaultdict(Pair)
        self._days: dict[int, Pair] = defaultdict(Pair)
        self._latency: tuple[list[float], list[float]] = ([], [])
        self._success: tuple[list[float], list[float]] = ([], [])
        self._first: int | None = None
        self._last: int | None = None

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        self.calls += 1
        if outcome.skipped is not None:
            self._skipped[outcome.skipped] += 1
            return
        self.replayed += 1
        self._first = outcome.time if self._first is None else self._first
        self._last = outcome.time
        before, after = outcome.before, outcome.after
        if after is None and before is not None:
            self._refused[outcome.refusal or "-"] += 1
        if after is not None and before is None:
            self._served_now += 1
        self.queued += outcome.wait_ms > 0
        self._count(outcome)
        if before is not None and after is not None:
            self._compare(outcome, before, after)

    def _count(self, outcome: Outcome) -> None:
        before, after = outcome.before, outcome.after
        groups = (self._total, self._routes[outcome.route], self._days[outcome.time - outcome.time % _DAY])
        for group in groups:
            group.add(outcome)
        if before is not None:
            self._models[before.model].before.add(before, with_cost=_counts_cost(outcome))
        if after is not None:
            self._models[after.model].after.add(after, with_cost=_counts_cost(outcome))
        if outcome.moved or (before is None) != (after is None):
            names = (before.model if before else NONE, after.model if after else NONE)
            self._moves[names].append(outcome)
        self.moved += outcome.moved

    def _compare(self, outcome: Outcome, before: Served, after: Served) -> None:
        """Add the figures that both sides have, so that means compare the same calls."""
        self.unpriced += None in (before.cost_nusd, after.cost_nusd)
        for (old, new), pair in (
            ((before.latency_ms, after.latency_ms), self._latency),
            ((before.success, after.success), self._success),
        ):
            if old is not None and new is not None:
                pair[0].append(old)
                pair[1].append(new)

    def as_json(self) -> dict[str, Any]:
        """Return the report."""
        refused = sum(self._refused.values())
        return {
            "object": "replay",
            "first_call": None if self._first is None else iso(self._first / 1e6),
            "last_call": None if self._last is None else iso(self._last / 1e6),
            "calls": {
                "recorded": self.calls,
                "replayed": self.replayed,
                "moved": self.moved,
                "answered_before": self._total.before.calls,
                "answered_after": self._total.after.calls,
                "queued": self.queued,
                "skipped": dict(sorted(self._skipped.items())),
            },
            "cost_usd": {
                **_change(usd(self._total.before.nusd), usd(self._total.after.nusd)),
                "calls_without_price": self.unpriced,
            },
            "latency_ms": _compared(self._latency, 1),
            "success": _compared(self._success, 4),
            "rejections": {
                "new": refused,
                "by_reason": dict(self._refused.most_common()),
                "answered_now": self._served_now,
            },
            "moves": self._moves_json(),
            "models": [{"model": name, **pair.as_json()} for name, pair in sorted(self._models.items())],
            "routes": [{"route": name, **pair.as_json()} for name, pair in sorted(self._routes.items())],
            "days": [{"day": str(iso(day / 1e6))[:10], **pair.as_json()} for day, pair in sorted(self._days.items())],
        }

    def _moves_json(self) -> list[dict[str, Any]]:
        """Return the moves, the most frequent first."""
        rows = []
        for (before, after), outcomes in sorted(self._moves.items(), key=lambda item: (-len(item[1]), item[0])):
            pair = Pair()
            for outcome in outcomes:
                pair.add(outcome)
            success = [
                outcome.after.success - outcome.before.success
                for outcome in outcomes
                if outcome.before and outcome.after
                if outcome.before.success is not None and outcome.after.success is not None
            ]
            rows.append(
                {
                    "from": before,
                    "to": after,
                    "calls": len(outcomes),
                    "cost_before_usd": usd(pair.before.nusd),
                    "cost_after_usd": usd(pair.after.nusd),
                    "success_change": round(_mean(success), 4) if success else None,
                    "reasons": dict(Counter(each.refusal for each in outcomes if each.refusal is not None)),
                    "example": outcomes[0].id,
                }
            )
        return rows


def _counts_cost(outcome: Outcome) -> bool:
    """Return whether the costs of a call count: where both sides answer, both must be known, so that sums compare."""
    before, after = outcome.before, outcome.after
    return before is None or after is None or None not in (before.cost_nusd, after.cost_nusd)


def _compared(pair: tuple[Sequence[float], Sequence[float]], digits: int) -> dict[str, Any]:
    """Return the means of the calls for which both sides are known."""
    before, after = pair
    if not before:
        return {"calls": 0, "before": None, "after": None, "change": None, "share": None}
    return {"calls": len(before), **_change(round(_mean(before), digits), round(_mean(after), digits))}


def _change(before: float, after: float) -> dict[str, Any]:
    share = round(after / before - 1.0, 6) if before else None
    return {"before": before, "after": after, "change": round(after - before, 9), "share": share}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
