"""Small snapshots and calls for the tests of routing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proxy.core.call import NO_OPTIONS, Call, RouterOptions
from proxy.core.model import Deployment, Mode, Price, Provider, ProviderKey, Tier
from proxy.core.plan import DeploymentHealth, HealthView
from proxy.core.policies import BreakerPolicy, DeadlinePolicy, RetryPolicy
from proxy.core.snapshot import ScenarioEntry, Snapshot

ILL = DeploymentHealth(available=False, reason="breaker open", retry_after=30.0)


def price(input: float, output: float) -> Price:
    """USD per million tokens."""
    return Price(int(input * 1e9), int(output * 1e9), cached_input=int(input * 5e8), cache_write=int(input * 1e9))


def provider(name: str, **fields: Any) -> Provider:
    """A provider with one key, `main`."""
    fields.setdefault("keys", (ProviderKey("main", "secret"),))
    return Provider(name, "openai", f"https://{name}.test/v1", **fields)


OPENAI = provider("openai")
ANTHROPIC = provider("anthropic")
LOCAL = provider("local", keys=(), any_model=True)

MINI = Deployment(
    OPENAI,
    "mini",
    tier="low",
    price=price(0.15, 0.6),
    context_window=10_000,
    max_output=4_000,
    latency=0.8,
    capabilities=frozenset({"tools", "vision", "json_schema"}),
)
HAIKU = Deployment(
    ANTHROPIC, "haiku", tier="low", price=price(1, 5), context_window=20_000, latency=0.4, capabilities=frozenset()
)
SONNET = Deployment(ANTHROPIC, "sonnet", tier="medium", price=price(3, 15), context_window=200_000, latency=1.0)
LLAMA = Deployment(LOCAL, "llama", tier="medium", latency=0.3)
OPUS = Deployment(ANTHROPIC, "opus", tier="high", price=price(15, 75), context_window=200_000, latency=2.0)
EMBED = Deployment(OPENAI, "embed", kind="embedding", price=price(0.02, 0), context_window=8_000)

ALL = (MINI, HAIKU, SONNET, LLAMA, OPUS, EMBED)


def snapshot(
    *deployments: Deployment,
    left_out: Mapping[str, str] | None = None,
    known: Sequence[str] = (),
    aliases: Mapping[str, str] | None = None,
    tiers: Mapping[Tier, tuple[str, ...] | None] | None = None,
    scenarios: Mapping[str, tuple[ScenarioEntry, ...]] | None = None,
    default_route: str | None = None,
    mode: Mode = "balanced",
    weights: Mapping[str, float] | None = None,
    providers: Sequence[Provider] = (),
    thinking: Mapping[str, str] | None = None,
) -> Snapshot:
    """A configuration with these deployments, or `ALL`."""
    chosen = deployments or ALL
    return Snapshot(
        version="v1",
        providers={each.name: each for each in (*[each.provider for each in chosen], *providers)},
        deployments={each.name: each for each in chosen},
        left_out=left_out or {},
        known=frozenset([*(each.name for each in chosen), *known]),
        aliases=aliases or {},
        tiers={"low": None, "medium": None, "high": None, **(tiers or {})},
        scenarios=scenarios or {},
        default_route=default_route,
        mode=mode,
        thinking=thinking or {},
        weights=weights or {},
        breaker=BreakerPolicy(),
        retry=RetryPolicy(),
        deadline=DeadlinePolicy(),
    )


def call(model: str, text: Any = "hi", *, on: Snapshot | None = None, body: Any = None, **options: Any) -> Call:
    """A chat call; `options` are the router's, `body` more members of the body."""
    whole = {"model": model, "messages": [{"role": "user", "content": text}], **(body or {})}
    return Call(
        id="req_1",
        request_id="1",
        endpoint="chat",
        raw=b"",
        body=whole,
        model=model,
        stream=False,
        usage_asked=False,
        options=RouterOptions(**options) if options else NO_OPTIONS,
        headers={},
        snapshot=on or snapshot(),
    )


class FixedHealth:
    """A health source with fixed values."""

    def __init__(self, view: HealthView | None = None) -> None:
        self._view = view or {}

    def health_of(self, deployment: Deployment) -> DeploymentHealth | None:
        return self._view.get(deployment.name)

    def view(self, snapshot: Snapshot) -> HealthView:
        return self._view
