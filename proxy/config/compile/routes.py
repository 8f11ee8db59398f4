"""Compiles the section `routing`: aliases to their final names, scenarios and tiers in their order."""

from collections.abc import Mapping

from proxy.config.settings.schema import Settings
from proxy.core.model import TIERS, Tier
from proxy.core.money import nano_dollars
from proxy.core.policies import LlmClassifierPolicy
from proxy.core.snapshot import ScenarioEntry


def resolve_alias(name: str, aliases: Mapping[str, str]) -> str:
    """The final target of an alias; bounded, in case the settings did not pass `load`."""
    for _ in range(len(aliases) + 1):
        if name not in aliases:
            return name
        name = aliases[name]
    raise ValueError(f"the alias `{name}` is a loop")


def compile_classifier(settings: Settings) -> LlmClassifierPolicy | None:
    """The model that classifies prompts, if the classifier is `llm`."""
    classifier = settings.routing.classifier
    if classifier.kind != "llm" or classifier.model is None:
        return None
    budget = None if classifier.budget is None else nano_dollars(classifier.budget)
    return LlmClassifierPolicy(classifier.model, classifier.deadline, budget, classifier.cache)


def compile_scenarios(settings: Settings, aliases: Mapping[str, str]) -> dict[str, tuple[ScenarioEntry, ...]]:
    """Entries in order of `priority`, lowest first; equal ones keep the order of the list."""
    return {
        name: tuple(
            ScenarioEntry(aliases.get(entry.model, entry.model), entry.set)
            for entry in sorted(entries, key=lambda entry: entry.priority)
        )
        for name, entries in settings.routing.scenarios.items()
    }


def compile_tiers(settings: Settings, aliases: Mapping[str, str]) -> dict[Tier, tuple[str, ...] | None]:
    """The models of each tier in order; None for a tier that is derived from the models."""
    tiers: dict[Tier, tuple[str, ...] | None] = {}
    for tier in TIERS:
        names: tuple[str, ...] | None = getattr(settings.routing.tiers, tier)
        tiers[tier] = None if names is None else tuple(aliases.get(name, name) for name in names)
    return tiers


def unlisted_models(
    settings: Settings,
    aliases: Mapping[str, str],
    scenarios: Mapping[str, tuple[ScenarioEntry, ...]],
    tiers: Mapping[Tier, tuple[str, ...] | None],
) -> tuple[str, ...]:
    """Models of `any_model` providers that a route uses but `models` does not list."""
    listed = {model.id for model in settings.models}
    named = [*aliases.values(), settings.routing.default]
    named += [entry.model for entries in scenarios.values() for entry in entries]
    named += [name for names in tiers.values() for name in names or ()]
    classifier = settings.routing.classifier
    named += [aliases.get(classifier.model, classifier.model)] if classifier.kind == "llm" and classifier.model else []
    judge = settings.learning.judge.model
    named += [aliases.get(judge, judge)] if settings.learning.enabled and judge else []
    named += [aliases.get(agent.model, agent.model) for agent in settings.agents.values()]
    open_providers = {name for name, provider in settings.providers.items() if provider.any_model}
    return tuple(
        name for name in dict.fromkeys(named) if name not in listed and name.partition("/")[0] in open_providers
    )
