"""Checks the references between names in a file: models, aliases, scenarios, tiers, agents, the default route.

It works on unvalidated data, so that it reports problems even if other values have wrong types. Messages contain names
of models, aliases and routes, and no other values.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.config.check.validate import Finding
from proxy.config.errors import suggestion
from proxy.config.settings.keys import key_id
from proxy.config.yaml.read import Path
from proxy.core.agents import PREFIX
from proxy.core.model import CAPABILITIES, MODES, RESERVED, TASKS, TIERS

_TIER_ROUTES = tuple(f"tier/{tier}" for tier in TIERS)
_TRUE = ("true", "yes", "on", "1", "t", "y")  # as the schema reads them


@dataclass(frozen=True, slots=True)
class Names:
    """The names that references may use."""

    providers: Mapping[str, bool]  # name to `any_model`
    models: Mapping[str, None]  # in the order of the file
    aliases: Mapping[str, str]
    scenarios: tuple[str, ...]

    def is_model(self, name: str) -> bool:
        """Whether `provider/model` is listed, or its provider has `any_model`."""
        provider, _, model = name.partition("/")
        return name in self.models or (bool(model) and self.providers.get(provider, False))

    def is_known(self, model: str) -> bool:
        """Whether the model's provider is configured."""
        return model.partition("/")[0] in self.providers

    def target(self, name: str) -> str:
        """The final target of an alias; a loop stops at the first repeated name."""
        seen = {name}
        while (following := self.aliases.get(name)) is not None and following not in seen:
            seen.add(following)
            name = following
        return name


def check(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Every invalid reference, with its path."""
    routing = _mapping(data.get("routing"))
    names = _names(data, routing)
    yield from _providers(data)
    yield from _models(data, names)
    yield from _aliases(names)
    yield from _scenarios(routing, names)
    yield from _content_fallback(routing, names)
    yield from _tiers(routing, names)
    yield from _nudges(routing, names)
    default = routing.get("default", "reject")
    rejects = not isinstance(default, str) or default in ("", "reject")
    if not rejects and (problem := _no_agent(default, names, "the default route")):
        yield Finding(("routing", "default"), problem)
    yield from _classifier(routing, names)
    yield from _learning(_mapping(data.get("learning")), routing, names)
    for id, agent in _mapping(data.get("agents")).items():
        model = _mapping(agent).get("model")
        if isinstance(model, str) and model and (problem := _no_agent(model, names, "the model of an agent")):
            yield Finding(("agents", id, "model"), problem)


def name_warnings(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Warnings about valid values that look like typing errors."""
    models = data.get("models")
    for index, model in enumerate(models if isinstance(models, list) else []):
        for field, known in (("capabilities", CAPABILITIES), ("specialties", TASKS)):
            words = _mapping(model).get(field)
            for position, word in enumerate(words if isinstance(words, list) else []):
                if isinstance(word, str) and word not in known and (near := suggestion(word, known)):
                    yield Finding(("models", index, field, position), f"`{word}` is not a known value{near}")
    yield from _repeats(data)


def _repeats(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Names that occur twice in one list, directly or by an alias."""
    routing = _mapping(data.get("routing"))
    names = _names(data, routing)
    for section in ("scenarios", "tiers"):
        for name, entries in _mapping(routing.get(section)).items():
            for index, word, first in _seen_before(entries, names):
                also = f", as `{first}`" if first != word else ""
                message = f"`{word}` is repeated in this list{also}; only the first is used"
                yield Finding(("routing", section, name, index), message)


def _seen_before(entries: Any, names: Names) -> Iterator[tuple[int, str, str]]:
    """Index and name of each entry that repeats an earlier one, with the earlier name."""
    seen: dict[str, str] = {}
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        word = entry if isinstance(entry, str) else _mapping(entry).get("model")
        if not isinstance(word, str):
            continue
        target = names.target(word)
        if target in seen:
            yield index, word, seen[target]
        seen.setdefault(target, word)


def _providers(data: Mapping[str, Any]) -> Iterator[Finding]:
    for name, provider in _mapping(data.get("providers")).items():
        if name in RESERVED:
            yield Finding(("providers", name), f"`{name}` is reserved for routes; rename the provider")
        keys = _mapping(provider).get("keys")
        seen: set[str] = set()
        for index, key in enumerate(keys if isinstance(keys, list) else []):
            own_id = key_id(key, index)
            if isinstance(own_id, str) and own_id in seen:
                path = ("providers", name, "keys", index, "id")
                yield Finding(
                    path, f"the id `{own_id}` is already used by another key of this provider; choose another"
                )
            elif isinstance(own_id, str):
                seen.add(own_id)


def _models(data: Mapping[str, Any], names: Names) -> Iterator[Finding]:
    seen: set[str] = set()
    for path, name in _model_ids(data):
        provider, _, model = name.partition("/")
        if provider and model and provider not in names.providers:
            yield Finding(
                path, f"unknown provider `{provider}`{suggestion(provider, names.providers) or _add(provider)}"
            )
        if name in seen:
            yield Finding(path, f"`{name}` is listed twice; remove one")
        seen.add(name)


def _add(provider: str) -> str:
    return f"; add it under `providers.{provider}`"


def _aliases(names: Names) -> Iterator[Finding]:
    for alias, target in names.aliases.items():
        path: Path = ("routing", "aliases", alias)
        first, slash, _ = alias.partition("/")
        if not alias.strip():
            yield Finding(path, "must have a name")
        elif first in RESERVED:
            yield Finding(path, f"`{first}` is reserved for routes; rename the alias")
        elif slash and first in names.providers:
            yield Finding(
                path,
                f"would hide models of the provider `{first}`; choose a name that does not start with `{first}/`",
            )
        if loop := _loop(alias, names.aliases):
            yield Finding(path, f"is a loop: {' -> '.join(f'`{name}`' for name in loop)}")
        elif target not in names.aliases and (problem := _route(target, names)):
            yield Finding(path, problem)


def _loop(alias: str, aliases: Mapping[str, str]) -> list[str]:
    """The names on a loop from an alias back to itself; empty if there is none."""
    visited = {alias: None}
    following = aliases.get(alias)
    while following is not None and following not in visited:
        visited[following] = None
        following = aliases.get(following)
    return [*visited, alias] if following == alias else []  # other loops are reported at their own aliases


def _scenarios(routing: Mapping[str, Any], names: Names) -> Iterator[Finding]:
    for scenario, entries in _mapping(routing.get("scenarios")).items():
        path: Path = ("routing", "scenarios", scenario)
        if not scenario.strip() or "/" in scenario:
            yield Finding(path, "must have a name without `/`")
        if isinstance(entries, list):
            if not entries:
                yield Finding(path, "is empty; add at least one model, or remove it")
            for index, entry in enumerate(entries):
                name = entry if isinstance(entry, str) else _mapping(entry).get("model")
                if isinstance(name, str) and (problem := _entry(name, names)):
                    yield Finding((*path, index), problem)


def _entry(name: str, names: Names) -> str | None:
    """The problem with an entry of a scenario, which must be a model, a tier or an alias of one."""
    if name.startswith("tier/"):
        return _route(name, names)
    return None if names.target(name) in _TIER_ROUTES else _model(name, names, "a scenario")


def _content_fallback(routing: Mapping[str, Any], names: Names) -> Iterator[Finding]:
    listed = routing.get("content_fallback")
    for index, name in enumerate(listed if isinstance(listed, list) else []):
        if isinstance(name, str) and name not in names.scenarios:
            near = suggestion(name, names.scenarios) or f"; known scenarios: {_list(names.scenarios)}"
            yield Finding(("routing", "content_fallback", index), f"unknown scenario `{name}`{near}")


def _tiers(routing: Mapping[str, Any], names: Names) -> Iterator[Finding]:
    for tier, entries in _mapping(routing.get("tiers")).items():
        path: Path = ("routing", "tiers", tier)
        if tier in TIERS and not entries:
            yield Finding(path, "is empty; add at least one model, or remove it to derive the tier from `models`")
        for index, name in enumerate(entries if isinstance(entries, list) else []):
            if isinstance(name, str) and (problem := _model(name, names, "a tier")):
                yield Finding((*path, index), problem)


def _nudges(routing: Mapping[str, Any], names: Names) -> Iterator[Finding]:
    for task, nudges in _mapping(routing.get("nudges")).items():
        for name in _mapping(nudges):
            if name not in names.providers and not names.is_model(name):
                problem = f"unknown model or provider `{name}`{_hint(name, (*names.models, *names.providers), names)}"
                yield Finding(("routing", "nudges", task, name), problem)


def _model(name: str, names: Names, what: str) -> str | None:
    """The problem with a name that must be a model or an alias of one."""
    target = names.target(name)
    if names.is_model(target):
        return None
    if name in names.aliases and (target in names.aliases or _route(target, names)):
        return None  # the alias itself is invalid and is reported separately
    if _route(target, names) is None:
        what = "a scenario lists models and tiers" if what == "a scenario" else f"{what} lists models"
        via = f"the alias `{name}`, which stands for `{target}`" if name != target else f"`{name}`"
        return f"{what}, not {via}"
    return f"unknown model `{name}`{_hint(name, (*names.models, *names.aliases), names)}"


def _learning(learning: Mapping[str, Any], routing: Mapping[str, Any], names: Names) -> Iterator[Finding]:
    """Problems with the model that judges answers, and with what learning needs."""
    if learning.get("enabled") is True and _mapping(routing.get("classifier")).get("kind", "rules") == "rules":
        yield Finding(
            ("learning", "enabled"), "needs the features that `routing.classifier.kind: model` or `llm` reads"
        )
    model = _mapping(learning.get("judge")).get("model")
    if isinstance(model, str) and model:
        yield from _asked_model(model, ("learning", "judge", "model"), "judge answers", names)
    elif _mapping(learning.get("shadow")).get("share"):
        yield Finding(("learning", "shadow", "share"), "needs `learning.judge.model`, which judges the answers")


def _classifier(routing: Mapping[str, Any], names: Names) -> Iterator[Finding]:
    """The problem with the model that classifies prompts: it must not need a classified prompt itself."""
    classifier = _mapping(routing.get("classifier"))
    model, path = classifier.get("model"), ("routing", "classifier", "model")
    if model is None and classifier.get("kind") == "llm":
        yield Finding(path, "is missing; with `kind: llm`, name the model, tier or scenario that classifies prompts")
    if isinstance(model, str) and model:
        yield from _asked_model(model, path, "classify prompts", names)


def _asked_model(model: str, path: tuple[str, ...], what: str, names: Names) -> Iterator[Finding]:
    """The problem with a model that Signalbox asks itself."""
    target = names.target(model)
    if target == "auto" or target.startswith(("mode/", PREFIX)):
        yield Finding(path, f"`{model}` cannot {what}; use a model, a tier or a scenario")
    elif problem := _route(model, names):
        yield Finding(path, problem)


def _no_agent(name: str, names: Names, what: str) -> str | None:
    """The problem with a name that must be a model or a route, but no agent."""
    if names.target(name).startswith(PREFIX):
        return f"`{name}`: {what} cannot be an agent; use a model, tier, scenario or mode"
    return _route(name, names)


def _route(name: str, names: Names) -> str | None:
    """The problem with a name that must be a valid `model` of a client."""
    first, _, rest = name.partition("/")
    if name == "auto" or name in names.aliases or names.is_model(name):
        return None
    choices = {"tier": TIERS, "mode": MODES, "scenario": names.scenarios}
    if first in choices and rest:
        if rest in choices[first]:
            return None
        near = suggestion(name, [f"{first}/{choice}" for choice in choices[first]])
        known = near or f"; known: {_list(choices[first])}"
        return f"unknown {first} `{name}`{known}"
    if first == "agent" and rest:
        return None  # the store may have it
    routes = [f"{kind}/{choice}" for kind, group in choices.items() for choice in group]
    return f"unknown model or route `{name}`{_hint(name, ('auto', *names.models, *names.aliases, *routes), names)}"


def _hint(name: str, candidates: tuple[str, ...], names: Names) -> str:
    """Suggest the only model with that bare id, else the nearest name."""
    same = [model for model in names.models if model.partition("/")[2] == name and names.is_known(model)]
    return f"; did you mean `{same[0]}`?" if len(same) == 1 else suggestion(name, candidates)


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def _names(data: Mapping[str, Any], routing: Mapping[str, Any]) -> Names:
    providers = _mapping(data.get("providers"))
    aliases = _mapping(routing.get("aliases"))
    return Names(
        providers={
            name: str(_mapping(provider).get("any_model")).lower() in _TRUE for name, provider in providers.items()
        },
        models=dict.fromkeys(name for _, name in _model_ids(data)),
        aliases={alias: target for alias, target in aliases.items() if isinstance(target, str)},
        scenarios=tuple(_mapping(routing.get("scenarios"))),
    )


def _model_ids(data: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    models = data.get("models")
    for index, model in enumerate(models if isinstance(models, list) else []):
        if isinstance(name := _mapping(model).get("id"), str):
            yield ("models", index, "id"), name


def _mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is a mapping, else an empty one; the schema reports other types."""
    return value if isinstance(value, Mapping) else {}
