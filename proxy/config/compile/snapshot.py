"""Compiles `Settings` to the snapshot used for routing: names resolved, keys assigned, prices as integers.

The settings must have passed `load`. Equal settings give equal snapshots; no clock is read, and no file but `ca_file`.
Absent values of a model come from the catalogue (`effective.py`).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from proxy.catalogue.lookup import DATE
from proxy.config.compile.agents import compile_agents
from proxy.config.compile.auth import compile_auth
from proxy.config.compile.budgets import compile_budgets
from proxy.config.compile.models import compile_catalogue, compile_deployments
from proxy.config.compile.providers import compile_providers
from proxy.config.compile.routes import (
    compile_classifier,
    compile_scenarios,
    compile_tiers,
    resolve_alias,
    unlisted_models,
)
from proxy.config.settings.redact import redacted
from proxy.config.settings.resilience import FailureSettings
from proxy.config.settings.schema import Settings
from proxy.core.failures import RULES, FailureClass, FailureRule
from proxy.core.learning import JudgePolicy, LearningRules, ShadowPolicy
from proxy.core.money import nano_dollars
from proxy.core.policies import (
    BreakerPolicy,
    CostTarget,
    DeadlinePolicy,
    HedgePolicy,
    ProbePolicy,
    QueuePolicy,
    RetryPolicy,
    SlowPolicy,
)
from proxy.core.snapshot import Snapshot
from proxy.prices.book import price_book


def compile_snapshot(settings: Settings) -> Snapshot:
    """Compile valid settings.

    Raises `ConfigError` if a `ca_file` has become unreadable since the settings were checked.
    """
    providers, left_out = compile_providers(settings)
    aliases = {alias: resolve_alias(alias, settings.routing.aliases) for alias in settings.routing.aliases}
    scenarios = compile_scenarios(settings, aliases)
    tiers = compile_tiers(settings, aliases)
    unlisted = unlisted_models(settings, aliases, scenarios, tiers)
    resilience = settings.resilience
    return Snapshot(
        version=version(settings),
        providers=providers,
        deployments=compile_deployments(settings, providers, unlisted),
        catalogue=compile_catalogue(settings, providers),
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
        classifier="rules" if settings.routing.classifier.kind == "rules" else "model",
        llm_classifier=compile_classifier(settings),
        quality=settings.routing.quality,
        cost=None if settings.routing.cost is None else CostTarget(**settings.routing.cost.model_dump()),
        nudges={str(task): terms for task, terms in settings.routing.nudges.items()},
        thinking=settings.routing.thinking.model_dump(exclude_none=True),
        queue=QueuePolicy(**resilience.queue.model_dump()),
        failures=_rules(resilience.failures),
        slow=SlowPolicy(**resilience.slow_calls.model_dump()),
        hedge=HedgePolicy(**resilience.hedge.model_dump()),
        probes=ProbePolicy(**resilience.probes.model_dump()),
        mid_stream=resilience.mid_stream,
        content_fallback=frozenset(settings.routing.content_fallback),
        max_in_flight=settings.server.max_in_flight,
        access_log=settings.logs.access,
        keep_records=settings.logs.retention,
        keep_dialogs=settings.conversations.retention,
        learning=_learning(settings),
        store_prompts=settings.prompts.store,
        request_log=settings.logs.requests,
        daily_log=settings.logs.daily,
        testing=settings.testing,
        budgets=compile_budgets(settings),
        auth=compile_auth(settings),
        agents=compile_agents(settings),
    )


def version(settings: Settings) -> str:
    """Twelve hexadecimal digits that identify settings, catalogue and price book, independent of secrets."""
    text = DATE + price_book().version + json.dumps(redacted(settings), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _learning(settings: Settings) -> LearningRules | None:
    own = settings.learning
    if not own.enabled:
        return None
    judge = None
    if own.judge.model is not None:
        judge = JudgePolicy(own.judge.model, own.judge.share, own.judge.deadline, _nano_dollars(own.judge.budget))
    shadow = ShadowPolicy(own.shadow.share, _nano_dollars(own.shadow.budget)) if own.shadow.share else None
    return LearningRules(
        own.min_labels, own.key_share, own.explore, own.signals, own.comments, judge=judge, shadow=shadow
    )


def _nano_dollars(usd: float | None) -> int | None:
    return None if usd is None else nano_dollars(usd)


def _rules(failures: Mapping[FailureClass, FailureSettings]) -> dict[FailureClass, FailureRule]:
    """The rule of each failure class: the default, overridden by the settings."""
    own = {name: settings.model_dump(exclude_none=True) for name, settings in failures.items()}
    return {name: _rule(rule, own.get(name, {})) for name, rule in RULES.items()}


def _rule(rule: FailureRule, own: Mapping[str, Any]) -> FailureRule:
    merged = replace(rule, **own)
    return replace(merged, max_rest=max(merged.rest, merged.max_rest)) if "max_rest" not in own else merged
