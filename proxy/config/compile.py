"""Compiles `Settings` to the snapshot used for routing: names resolved, keys assigned, prices as integers.

The settings must have passed `load`. Equal settings give equal snapshots; no clock is read, and no file but `ca_file`.
Absent values of a model come from the catalogue (`effective.py`).
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from proxy.catalogue.lookup import DATE, entries_by_id
from proxy.config.certificates import certificates
from proxy.config.effective import Effective, effective, known_vendor, of_entry
from proxy.config.errors import ConfigError, Problem
from proxy.config.providers import (
    KeySettings,
    LimitSettings,
    ModelSettings,
    PriceSettings,
    ProviderSettings,
    TimeoutSettings,
    Unset,
)
from proxy.config.redact import redacted
from proxy.config.resilience import FailureSettings
from proxy.config.schema import Settings
from proxy.core.failures import RULES, FailureClass, FailureRule
from proxy.core.model import TIERS, Deployment, LimitValues, MockOptions, Price, Provider, ProviderKey, Tier, Timeouts
from proxy.core.policies import (
    BreakerPolicy,
    DeadlinePolicy,
    HedgePolicy,
    ProbePolicy,
    QueuePolicy,
    RetryPolicy,
    SlowPolicy,
)
from proxy.core.snapshot import ScenarioEntry, Snapshot

_NANO = 10**9

REASONING_FIRST_TOKEN = 300.0  # seconds


def compile_snapshot(settings: Settings) -> Snapshot:
    """Compile. A provider whose keys are all unset is left out, or replaced by a mock with `mock_when_no_keys`."""
    providers: dict[str, Provider] = {}
    left_out: dict[str, str] = {}
    for name, given in settings.providers.items():
        keys = tuple(_keys(given))
        if keys or not given.keys:
            providers[name] = _provider(name, given, keys)
            continue
        if settings.mock_when_no_keys:
            providers[name] = _stand_in(name, given)
        else:
            left_out[name] = _no_key(given.keys)
    aliases = {alias: _resolved(alias, settings.routing.aliases) for alias in settings.routing.aliases}
    scenarios = _scenarios(settings, aliases)
    tiers = _tiers(settings, aliases)
    unlisted = _unlisted(settings, aliases, scenarios, tiers)
    catalogue = _catalogue(settings, providers)
    resilience = settings.resilience
    return Snapshot(
        version=version(settings),
        providers=providers,
        deployments=_deployments(settings, providers, unlisted),
        catalogue=catalogue,
        left_out=left_out,
        known=frozenset((*(model.id for model in settings.models), *unlisted)),
        aliases=aliases,
        tiers=tiers,
        scenarios=scenarios,
        default_route=None if settings.routing.default == "reject" else settings.routing.default,
        mode=settings.routing.mode,
        weights=settings.routing.weights.model_dump(exclude_none=True),
        breaker=BreakerPolicy(**resilience.breaker.model_dump()),
        retry=RetryPolicy(**resilience.retry.model_dump(exclude={"budget"}), **resilience.retry.budget.model_dump()),
        deadline=DeadlinePolicy(**resilience.deadline.model_dump()),
        thinking=settings.routing.thinking.model_dump(exclude_none=True),
        queue=QueuePolicy(**resilience.queue.model_dump()),
        failures=_rules(resilience.failures),
        slow=SlowPolicy(**resilience.slow_calls.model_dump()),
        hedge=HedgePolicy(**resilience.hedge.model_dump()),
        probes=ProbePolicy(**resilience.probes.model_dump()),
        mid_stream=resilience.mid_stream,
        content_fallback=frozenset(settings.routing.content_fallback),
    )


def version(settings: Settings) -> str:
    """Twelve hexadecimal digits that identify settings and catalogue, independent of secrets."""
    text = DATE + json.dumps(redacted(settings), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def nano_dollars(usd: Decimal) -> int:
    """Convert USD to nano-dollars."""
    return int((usd * _NANO).to_integral_value())


def _keys(given: ProviderSettings) -> Iterator[ProviderKey]:
    for key in given.keys:
        if not isinstance(key.value, Unset):
            yield ProviderKey(
                id=key.id, value=key.value.get_secret_value(), weight=key.weight, limits=_limits(key.limits)
            )


def _no_key(keys: tuple[KeySettings, ...]) -> str:
    names = [name for key in keys if isinstance(key.value, Unset) for name in key.value.variables]
    return f"no key is set ({', '.join(dict.fromkeys(names))})" if names else "no key is set"


def _provider(name: str, given: ProviderSettings, keys: tuple[ProviderKey, ...]) -> Provider:
    mock = None
    if given.dialect == "mock":
        mock = MockOptions(
            seed=given.seed,
            latency=given.latency,
            tokens=given.tokens,
            failure_rate=given.failure_rate,
            faults=given.faults,
        )
    return Provider(
        name=name,
        dialect=given.dialect,
        base_url=given.address or "",
        keys=keys,
        auth_header=given.key_header,
        api_version=given.api_version,
        any_model=given.any_model,
        headers={header: value.get_secret_value() for header, value in given.headers.items()},
        proxy=None if given.proxy is None else given.proxy.get_secret_value(),
        ca=None if given.ca_file is None else _certificates(name, given.ca_file),
        stream_usage=given.stream_usage,
        timeouts=_timeouts(given.timeouts),
        mock=mock,
        prompt_cache=given.prompt_cache,
        vertex=given.vertex,
    )


def _certificates(provider: str, path: str) -> str:
    try:
        return certificates(path)
    except ValueError as exc:  # the file has changed since the configuration was checked
        raise ConfigError([Problem(path, None, f"providers.{provider}.ca_file", str(exc))]) from None


def _stand_in(name: str, given: ProviderSettings) -> Provider:
    """A mock with the name of a provider without keys; it never contacts the real provider."""
    return Provider(
        name=name,
        dialect="mock",
        base_url="",
        any_model=given.any_model,
        timeouts=_timeouts(given.timeouts),
        mock=MockOptions(),
        stand_in=True,
        stand_in_reason=_no_key(given.keys),
    )


def _timeouts(given: TimeoutSettings) -> Timeouts:
    return Timeouts(**given.model_dump())


def _patient(timeouts: Timeouts, model: ModelSettings, given: TimeoutSettings) -> Timeouts:
    """The timeouts of a model; a longer default `first_token` for reasoning models, which may be silent for long."""
    if "reasoning" in (model.capabilities or ()) and "first_token" not in given.model_fields_set:
        return replace(timeouts, first_token=REASONING_FIRST_TOKEN)
    return timeouts


def _deployments(
    settings: Settings, providers: Mapping[str, Provider], unlisted: tuple[str, ...]
) -> dict[str, Deployment]:
    """The enabled models in the order of the file, then the models that only routes use."""
    deployments = {}
    for model in settings.models:
        provider_name = model.id.partition("/")[0]
        provider = providers.get(provider_name)
        if provider is not None and model.enabled:
            found = effective(model, settings.providers[provider_name])
            deployments[model.id] = _deployment(found, provider, settings.providers[provider_name])
    for name in unlisted:
        provider_name = name.partition("/")[0]
        provider = providers.get(provider_name)
        if provider is not None:
            found = effective(ModelSettings(id=name), settings.providers[provider_name])
            deployments[name] = _deployment(found, provider, settings.providers[provider_name])
    return _with_twins(deployments)


def _with_twins(deployments: dict[str, Deployment]) -> dict[str, Deployment]:
    """Mark the models that several providers serve at the same price."""
    equal = Counter(map(_likeness, deployments.values()))
    return {
        name: replace(each, twin=True) if equal[_likeness(each)] > 1 else each for name, each in deployments.items()
    }


def _likeness(deployment: Deployment) -> tuple[str, str, str | None, Price | None]:
    return deployment.model, deployment.kind, deployment.tier, deployment.price


def _catalogue(settings: Settings, providers: Mapping[str, Provider]) -> dict[str, dict[str, Deployment]]:
    """The catalogue's models that an `any_model` provider serves in addition to the listed ones."""
    known: dict[str, dict[str, Deployment]] = {}
    for name, provider in providers.items():
        given = settings.providers[name]
        vendor = known_vendor(given) if provider.any_model else None
        if vendor is not None:
            known[name] = {
                model: _deployment(of_entry(f"{name}/{model}", entry, given, vendor), provider, given, listed=False)
                for model, entry in entries_by_id(vendor).items()
            }
    return known


def _deployment(found: Effective, provider: Provider, given: ProviderSettings, *, listed: bool = True) -> Deployment:
    model = found.settings
    own = model.timeouts.model_dump(exclude_none=True)
    return Deployment(
        provider=provider,
        model=model.id.partition("/")[2],
        kind=model.kind,
        tier=model.tier,
        price=None if model.price is None else _price(model.price),
        context_window=model.context_window,
        max_output=model.max_output,
        latency=model.latency,
        capabilities=None if model.capabilities is None else frozenset(model.capabilities),
        specialties=frozenset(model.specialties),
        quality=model.quality,
        timeouts=replace(_patient(provider.timeouts, model, given.timeouts), **own),
        limits=_limits(model.limits),
        unsupported=frozenset(model.unsupported),
        thinking=model.thinking,
        thinking_off=model.thinking_off,
        listed=listed,
    )


def _limits(given: LimitSettings) -> LimitValues | None:
    values = given.model_dump(exclude_none=True)
    return LimitValues(**values) if values else None


def _rules(given: Mapping[FailureClass, FailureSettings]) -> dict[FailureClass, FailureRule]:
    """The rule of each failure class: the default, overridden by the settings."""
    own = {name: settings.model_dump(exclude_none=True) for name, settings in given.items()}
    return {name: _rule(rule, own.get(name, {})) for name, rule in RULES.items()}


def _rule(rule: FailureRule, own: Mapping[str, Any]) -> FailureRule:
    made = replace(rule, **own)
    return replace(made, max_rest=max(made.rest, made.max_rest)) if "max_rest" not in own else made


def _price(given: PriceSettings) -> Price:
    def or_input(usd: Decimal | None) -> int:
        return nano_dollars(given.input if usd is None else usd)

    return Price(
        input=nano_dollars(given.input),
        output=nano_dollars(given.output),
        cached_input=or_input(given.cached_input),
        cache_write=or_input(given.cache_write),
    )


def _resolved(name: str, aliases: Mapping[str, str]) -> str:
    """The final target of an alias; bounded, in case the settings did not pass `load`."""
    for _ in range(len(aliases) + 1):
        if name not in aliases:
            return name
        name = aliases[name]
    raise ValueError(f"the alias `{name}` is a loop")


def _scenarios(settings: Settings, aliases: Mapping[str, str]) -> dict[str, tuple[ScenarioEntry, ...]]:
    """Entries in order of `priority`, lowest first; equal ones keep the order of the list."""
    return {
        name: tuple(
            ScenarioEntry(aliases.get(entry.model, entry.model), entry.set)
            for entry in sorted(entries, key=lambda entry: entry.priority)
        )
        for name, entries in settings.routing.scenarios.items()
    }


def _tiers(settings: Settings, aliases: Mapping[str, str]) -> dict[Tier, tuple[str, ...] | None]:
    tiers: dict[Tier, tuple[str, ...] | None] = {}
    for tier in TIERS:
        names: tuple[str, ...] | None = getattr(settings.routing.tiers, tier)
        tiers[tier] = None if names is None else tuple(aliases.get(name, name) for name in names)
    return tiers


def _unlisted(
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
    open_providers = {name for name, provider in settings.providers.items() if provider.any_model}
    return tuple(
        name for name in dict.fromkeys(named) if name not in listed and name.partition("/")[0] in open_providers
    )
