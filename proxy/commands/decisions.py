"""Decision records as text for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from proxy.commands.tables import table, text

_LABEL = 11  # characters
_AMOUNTS = ("score", "success", "cost_usd", "latency_ms", "wait_ms")
_MEMBERS = {  # of a candidate, by their column
    "score": "score",
    "success": "predicted_success",
    "cost_usd": "estimated_cost_usd",
    "latency_ms": "latency_ms",
    "wait_ms": "estimated_wait_ms",
}
_PROFILE = ("task", "tier", "score", "confidence", "classifier")
_PROFILE_IF_SET = ("before_learning", "needs")
_OTHERS = ("affinity", "agent")
_RANKING = ("needs", "quality", "predictor", "calibration", "warm", "propensity")
_LEAST = 0.0005  # weight of a word that is shown
Row = Mapping[str, Any]


def decision_text(decision: Mapping[str, Any]) -> str:
    """Return a decision record in blocks: the choice and the prompt, the targets with their terms, the rejections."""
    candidates: Sequence[Row] = decision.get("candidates") or ()
    used = [row for row in candidates if row.get("status") != "rejected"]
    rejected = [row for row in candidates if row.get("status") == "rejected"]
    blocks = ["\n".join(_choice(decision)), *_targets(used)]
    if rejected:
        rows = [{"rejected": _name(row), "why": row.get("reason")} for row in rejected]
        blocks.append(table(("rejected", "why"), rows))
    return "\n\n".join(blocks)


def _choice(decision: Mapping[str, Any]) -> Iterable[str]:
    asked = decision.get("model") or decision.get("route")
    yield _labelled("route", f"{text(asked)} -> {text(decision.get('chosen'))}")
    yield _labelled("why", text(decision.get("reason")))
    if (profile := decision.get("profile")) is not None:
        names = [*_PROFILE, *(name for name in _PROFILE_IF_SET if profile.get(name))]
        yield _labelled("prompt", ", ".join(f"{name.replace('_', ' ')} {text(profile.get(name))}" for name in names))
        if (problem := profile.get("fallback")) is not None:
            yield _labelled("fallback", f"to the local profile: {text(problem)}")
        features = [(each["name"], each["weight"]) for each in profile.get("features") or ()]
        yield _labelled("features", _weighed(features))
        if "words" in profile:
            words = [(each["word"], each["weight"]) for each in profile["words"]]
            yield _labelled("harder", _weighed([pair for pair in words if pair[1] >= _LEAST]))
            yield _labelled("easier", _weighed([pair for pair in reversed(words) if pair[1] <= -_LEAST]))
    if needs := decision.get("constraints"):
        shown = [f"{name.replace('_', ' ')} {text(value)}" for name, value in needs.items() if value]
        yield _labelled("needs", ", ".join(shown) or "-")
    if ranking := decision.get("ranking"):
        shown = [f"{name} {text(ranking[name])}" for name in _RANKING if ranking.get(name) is not None]
        yield _labelled("ranking", ", ".join(shown))
    for name in _OTHERS:
        if decision.get(name) is not None:
            yield _labelled(name, text(decision[name]))
    yield _labelled("version", text(decision.get("config_version")))


def _targets(rows: Sequence[Row]) -> list[str]:
    """Return the table of the targets in their order, and why each fallback that is not simply next is where it is."""
    if not rows:
        return []
    terms = list(dict.fromkeys(name for row in rows for name in row.get("terms") or ()))
    shown = [
        {
            "target": _name(row),
            **{column: _rounded(row.get(_MEMBERS[column])) for column in _AMOUNTS},
            **{name: (row.get("terms") or {}).get(name) for name in terms},
        }
        for row in rows
    ]
    for at, row in enumerate(shown, 1):
        row["#"] = at
    columns = [name for name in ("score", *terms, *_AMOUNTS[1:]) if any(row.get(name) is not None for row in shown)]
    notes = [
        f"{_name(row)}: {text(row.get('reason'))}"
        for row in rows[1:]
        if row.get("reason") not in (None, "next in order")
    ]
    return ["\n".join([table(("#", "target", *columns), shown), *notes])]


def _name(row: Row) -> str:
    return f"{row.get('provider')}/{row.get('model')}"


def _rounded(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value


def _weighed(pairs: Sequence[tuple[str, float]]) -> str:
    return ", ".join(f"{text(name)} {weight:+.3f}" for name, weight in pairs) or "-"


def _labelled(label: str, value: str) -> str:
    return f"{label:<{_LABEL}}{value}"
