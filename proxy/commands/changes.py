"""The differences between two configurations, each with a sentence for people.

Both are compared as the effective settings: JSON values with defaults and the values of the catalogue, without secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxy.commands.tables import text
from proxy.core.durations import duration_text

_ABSENT = object()
_DURATIONS = frozenset(
    (
        *("at_least", "backoff", "connect", "deadline", "drain", "early_comments", "first_token", "hard"),
        *("header_timeout", "idle", "keep_alive", "latency", "max_age", "max_backoff", "max_open", "max_rest"),
        *("max_wait", "open", "rest", "retention", "soft", "stream_keep_alive", "total", "ttl", "window"),
        "write_stall",
    )
)
_IDENTITY: Mapping[str, Callable[[Mapping[str, Any]], str]] = {  # of the items of a list
    "keys": lambda item: str(item.get("id")),
    "budgets": lambda item: f"{item.get('scope')}{'/' + str(item['id']) if item.get('id') else ''}",
    "issuers": lambda item: str(item.get("issuer")),
}
_COLLECTIONS = {  # whose members have names that the operator chooses, and what one is called
    ("models",): "Model",
    ("providers",): "Provider",
    ("routing", "aliases"): "Alias",
    ("routing", "scenarios"): "Scenario",
    ("agents",): "Agent",
    ("budgets",): "Budget",
    ("left out",): "Provider",
}
FIRST = "first target"  # the section with the first target of each route
Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `before` and `after` are JSON values; null where it is not set."""

    path: Path
    before: Any
    after: Any
    sentence: str

    def as_json(self) -> dict[str, Any]:
        """Return the change as JSON values."""
        return {"path": list(self.path), "before": self.before, "after": self.after, "text": self.sentence}


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Return the differences, in the order of the settings."""
    return [
        Change(path, _json(old), _json(new), sentence_of(path, old, new))
        for path, old, new in _differences((), before, after)
    ]


def sentence_of(path: Path, before: Any, after: Any) -> str:
    """Return what a difference is, in words."""
    collection = _COLLECTIONS.get(path[:-1])
    if collection is not None:
        return _member(collection, path, before, after)
    if path[0] in ("models", "providers", "agents") and len(path) > 2:
        noun = _COLLECTIONS[path[:1]]
        return f"{noun} {path[1]}: {_model_setting(path[2:], before, after)}."
    if path[0] == FIRST:
        return _first_target(path[1], before, after)
    if path[:2] == ("routing", "tiers"):
        return _tier(path[2], before, after)
    if path == ("routing", "mode"):
        return f"`auto` uses the mode {after} instead of {before}."
    if path == ("routing", "classifier", "kind"):
        return f"Prompts are classified by `{after}` instead of `{before}`; scores of both cannot be compared."
    return f"{_setting(path, before, after)}."


def _differences(path: Path, before: Any, after: Any) -> Iterator[tuple[Path, Any, Any]]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys((*before, *after)):
            yield from _differences((*path, name), before.get(name, _ABSENT), after.get(name, _ABSENT))
    elif path and path[-1] in _IDENTITY and isinstance(before, list) and isinstance(after, list):
        identity = _IDENTITY[path[-1]]
        yield from _differences(path, _by(identity, before), _by(identity, after))
    elif before != after and not (_is_nothing(before) and _is_nothing(after)):
        yield path, before, after


def _by(identity: Callable[[Mapping[str, Any]], str], items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the items of a list by their identity; a repeated one has a number."""
    named: dict[str, Any] = {}
    for item in items:
        name = identity(item)
        named[name if name not in named else f"{name} ({len(named) + 1})"] = item
    return named


def _member(noun: str, path: Path, before: Any, after: Any) -> str:
    """Return the sentence of a member that is there or not, or that has one value."""
    name = path[-1]
    if path[0] == "left out":
        if after is _ABSENT:
            return f"Provider {name} is usable; it was left out: {before}."
        return f"Provider {name} is left out: {after}."
    if before is _ABSENT:
        return f"{noun} {name} is added{_described(path, after)}."
    if after is _ABSENT:
        return f"{noun} {name} is removed{_described(path, before, '; it was')}."
    if noun == "Alias":
        return f"Alias {name} stands for {after} instead of {before}."
    if noun == "Scenario":
        return _scenario(name, before, after)
    return f"{noun} {name} changes from {_shown(path, before)} to {_shown(path, after)}."


def _described(path: Path, value: Any, join: str = ":") -> str:
    """Return the essence of a new or a former member."""
    if path[:-1] == ("routing", "aliases"):
        return f"{join} {value}"
    if path[:-1] == ("routing", "scenarios"):
        return f"{join} {', '.join(_models(value))}"
    if path[0] == "budgets":
        return f"{join} {_budget(value)}"
    if path[0] == "models":
        price = value.get("price") or {}
        parts = [f"tier {value['tier']}"] if value.get("tier") else []
        parts += [f"{kind} {price[kind]:g}" for kind in ("input", "output") if kind in price]
        return f"{join} {', '.join(parts)}{' USD per million tokens' if price else ''}" if parts else ""
    if path[0] == "providers":
        return f"{join} {value.get('dialect')}{' at ' + value['base_url'] if value.get('base_url') else ''}"
    return ""


def _budget(value: Mapping[str, Any]) -> str:
    return f"{value['usd']:g} USD per {value['period']}{'' if value['hard'] else ', soft'}"


def _scenario(name: str, before: Sequence[Any], after: Sequence[Any]) -> str:
    old, new = _models(before), _models(after)
    if old == new:
        return f"Scenario {name} sets other parameters or priorities of its models."
    if sorted(old) == sorted(new):
        return f"Scenario {name} has another order: {', '.join(new)}."
    return f"Scenario {name} consists of {', '.join(new) or 'nothing'} instead of {', '.join(old) or 'nothing'}."


def _models(entries: Sequence[Any]) -> list[str]:
    return [str(entry["model"]) for entry in entries]


def _model_setting(path: Path, before: Any, after: Any) -> str:
    if path[0] == "price" and len(path) == 2 and _is_number(before) and _is_number(after):
        verb = "rises" if after > before else "falls"
        share = f" ({(after - before) / before:+.0%})" if before else ""
        return f"the price of {path[1]} {verb} from {before:g} to {after:g} USD per million tokens{share}"
    if path == ("tier",):
        return f"moves from {_in_tier(before)} to {_in_tier(after)}"
    if path == ("enabled",):
        return "is enabled" if after else "is disabled"
    return _setting(path, before, after)


def _in_tier(tier: Any) -> str:
    return "no tier" if _is_nothing(tier) else f"tier {tier}"


def _tier(name: str, before: Any, after: Any) -> str:
    if after is None:
        return f"`tier/{name}` has the models that declare the tier, not a list."
    listed = ", ".join(after)
    if before is None:
        return f"`tier/{name}` has a list: {listed}."
    return f"`tier/{name}` lists {listed} instead of {', '.join(before)}."


def _first_target(route: str, before: Any, after: Any) -> str:
    if _is_nothing(after):
        return f"`{route}` has no target for a plain chat any more; it began with {before}."
    if _is_nothing(before):
        return f"`{route}` begins with {after}."
    return f"`{route}` begins with {after} instead of {before}."


def _setting(path: Path, before: Any, after: Any) -> str:
    name = f"`{'.'.join(path)}`"
    if isinstance(after, bool) and isinstance(before, bool):
        return f"{name} is switched {'on' if after else 'off'}"
    if _is_nothing(before):
        return f"{name} is set to {_shown(path, after)}"
    if _is_nothing(after):
        return f"{name} is not set any more; it was {_shown(path, before)}"
    return f"{name} changes from {_shown(path, before)} to {_shown(path, after)}"


def _shown(path: Path, value: Any) -> str:
    if path[-1] in _DURATIONS and _is_number(value):
        return duration_text(value)
    return text(value)


def _is_nothing(value: Any) -> bool:
    return value is _ABSENT or value is None or value == [] or value == {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _json(value: Any) -> Any:
    return None if value is _ABSENT else value
