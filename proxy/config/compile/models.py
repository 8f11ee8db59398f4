"""Compiles the section `models` to deployments, with absent values from the catalogue and the price book."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from proxy.catalogue.lookup import entries_by_id
from proxy.config.compile.effective import Effective, effective, known_vendor, of_entry
from proxy.config.compile.providers import compile_limits
from proxy.config.settings.models import ModelSettings
from proxy.config.settings.providers import ProviderSettings, TimeoutSettings
from proxy.config.settings.schema import Settings
from proxy.core.model import Deployment, Price, Provider, Timeouts

REASONING_FIRST_TOKEN = 300.0  # seconds


def compile_deployments(
    settings: Settings, providers: Mapping[str, Provider], unlisted: tuple[str, ...]
) -> dict[str, Deployment]:
    """The enabled models in the order of the file, then the models that only routes use."""
    deployments = {}
    for model in (*settings.models, *(ModelSettings(id=name) for name in unlisted)):
        provider_name = model.id.partition("/")[0]
        if model.enabled and provider_name in providers:
            provider_settings = settings.providers[provider_name]
            effective_model = effective(model, provider_settings)
            deployments[model.id] = _deployment(effective_model, providers[provider_name], provider_settings)
    return _with_twins(deployments)


def compile_catalogue(settings: Settings, providers: Mapping[str, Provider]) -> dict[str, dict[str, Deployment]]:
    """The catalogue's models that an `any_model` provider serves in addition to the listed ones."""
    known: dict[str, dict[str, Deployment]] = {}
    for name, provider in providers.items():
        own = settings.providers[name]
        vendor = known_vendor(own) if provider.any_model else None
        if vendor is not None:
            known[name] = {
                model: _deployment(of_entry(f"{name}/{model}", entry, own, vendor), provider, own, listed=False)
                for model, entry in entries_by_id(vendor).items()
            }
    return known


def _with_twins(deployments: dict[str, Deployment]) -> dict[str, Deployment]:
    """Mark the models that several providers serve at the same price."""
    equal = Counter(map(_identity, deployments.values()))
    return {
        name: replace(deployment, twin=True) if equal[_identity(deployment)] > 1 else deployment
        for name, deployment in deployments.items()
    }


def _identity(deployment: Deployment) -> tuple[str, str, str | None, Price | None]:
    return deployment.model, deployment.kind, deployment.tier, deployment.price


def _deployment(
    effective_model: Effective, provider: Provider, settings: ProviderSettings, *, listed: bool = True
) -> Deployment:
    model = effective_model.settings
    own = model.timeouts.model_dump(exclude_none=True)
    return Deployment(
        provider=provider,
        model=model.id.partition("/")[2],
        kind=model.kind,
        tier=model.tier,
        price=effective_model.price,
        context_window=model.context_window,
        max_output=model.max_output,
        image_tokens=effective_model.image_tokens,
        latency=model.latency,
        capabilities=None if model.capabilities is None else frozenset(model.capabilities),
        specialties=frozenset(model.specialties),
        quality=model.quality,
        timeouts=replace(_with_reasoning_time(provider.timeouts, model, settings.timeouts), **own),
        limits=compile_limits(model.limits),
        unsupported=frozenset(model.unsupported),
        thinking=model.thinking,
        thinking_off=model.thinking_off,
        listed=listed,
    )


def _with_reasoning_time(timeouts: Timeouts, model: ModelSettings, settings: TimeoutSettings) -> Timeouts:
    """The timeouts of a model; a longer default `first_token` for reasoning models, which may be silent for long."""
    if "reasoning" in (model.capabilities or ()) and "first_token" not in settings.model_fields_set:
        return replace(timeouts, first_token=REASONING_FIRST_TOKEN)
    return timeouts
