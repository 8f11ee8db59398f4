"""The values that travel through a call: frozen, without behaviour beyond derived properties.

The one exception is `Record`, the only mutable object of a call: the pipeline and the attempt loop write it, settling
reads it. Durations are seconds, money is nano-dollars, secrets are not in any `repr`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from proxy.core.body import Span
from proxy.core.failures import RULES, FailureClass, FailureRule
from proxy.core.policies import (
    BreakerPolicy,
    DeadlinePolicy,
    HedgePolicy,
    ProbePolicy,
    QueuePolicy,
    RetryPolicy,
    SlowPolicy,
)

Tier = Literal["low", "medium", "high"]
Mode = Literal["fast", "balanced", "accurate"]
Kind = Literal["chat", "completion", "embedding", "image", "audio", "moderation"]
DialectName = Literal["openai", "anthropic", "gemini", "mock"]

TIERS: tuple[Tier, ...] = ("low", "medium", "high")
MODES: tuple[Mode, ...] = ("fast", "balanced", "accurate")
TASKS = ("code", "writing", "analysis", "translation", "math", "extraction", "chat")
CAPABILITIES = ("tools", "vision", "json_schema", "reasoning", "audio", "files", "prefill")
KEYLESS = "-"  # the id of the key that a keyless provider does not have
RESERVED = ("tier", "scenario", "mode", "agent", "auto")

EMPTY: Mapping[str, Any] = MappingProxyType({})


def way(deployment: str, key_id: str) -> str:
    """The name of one key of a deployment."""
    return f"{deployment}#{key_id}"


@dataclass(frozen=True, slots=True)
class LimitValues:
    """How much may be asked, in any minute, in any 24 hours, and at once; None is unlimited."""

    rpm: int | None = None
    rpd: int | None = None
    tpm: int | None = None
    tpd: int | None = None
    concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class ProviderKey:
    """One key that we hold for a provider; `weight` is its share of the calls."""

    id: str
    value: str = field(repr=False)
    weight: float = 1
    limits: LimitValues | None = None  # where given, each replaces the model's


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `first_token` runs until the commit point and `idle` between bytes after it, both for streams only."""

    connect: float = 5.0
    first_token: float = 120.0
    idle: float = 60.0
    total: float = 600.0


@dataclass(frozen=True, slots=True)
class Price:
    """Nano-dollars per million tokens: USD 0.15 per million is 150_000_000."""

    input: int
    output: int
    cached_input: int
    cache_write: int


@dataclass(frozen=True, slots=True)
class MockOptions:
    """What the mock provider does; `faults` are the kinds that `failure_rate` draws from."""

    seed: int = 42
    latency: float = 0.0
    tokens: int | None = None
    failure_rate: float = 0.0
    faults: tuple[str, ...] = ("error",)


@dataclass(frozen=True, slots=True)
class Provider:
    """An organisation or server with a base URL and keys. No keys: keyless, called without a credential."""

    name: str
    dialect: DialectName
    base_url: str
    keys: tuple[ProviderKey, ...] = ()
    auth_header: str = "authorization"
    api_version: str | None = None
    any_model: bool = False
    headers: Mapping[str, str] = field(default_factory=lambda: EMPTY, repr=False)
    proxy: str | None = field(default=None, repr=False)
    ca: str | None = field(default=None, repr=False)  # certificates in PEM that are trusted beside the public roots
    stream_usage: Literal["ask", "never"] = "ask"
    timeouts: Timeouts = Timeouts()
    mock: MockOptions | None = None
    prompt_cache: Literal["off", "auto"] = "off"  # Anthropic: mark the prompt's stable part for caching
    vertex: bool = False  # Gemini: Vertex's paths, `base_url` up to `.../publishers/google`
    stand_in: bool = False  # a mock that answers for a provider without keys
    stand_in_reason: str = ""  # why the provider itself cannot be used

    @property
    def label(self) -> str:
        """The provider in metrics and log lines: `mock` for a stand-in, else its name."""
        return "mock" if self.stand_in else self.name


@dataclass(frozen=True, slots=True)
class Deployment:
    """One model at one provider: the unit of price, limits and health. `None` means unknown and passes every filter."""

    provider: Provider
    model: str
    kind: Kind = "chat"
    tier: Tier | None = None
    price: Price | None = None
    context_window: int | None = None
    max_output: int | None = None
    latency: float | None = None  # seconds, a prior: measured latency replaces it
    capabilities: frozenset[str] | None = None
    specialties: frozenset[str] = frozenset()
    quality: float | None = None
    timeouts: Timeouts = Timeouts()
    unsupported: frozenset[str] = frozenset()  # OpenAI parameters that the model refuses
    thinking: Mapping[str, Any] = field(default_factory=lambda: EMPTY)  # by effort, as members of the native request
    thinking_off: Mapping[str, Any] | None = None  # what switches thinking off, as members of the native request
    listed: bool = True  # False: named by a client through `any_model`
    twin: bool = False  # another provider has an equal model: the same id, kind, tier and price
    limits: LimitValues | None = None  # for each key, unless the key has its own
    name: str = field(init=False)  # `provider/model`, the deployment's id

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", f"{self.provider.name}/{self.model}")


@dataclass(frozen=True, slots=True)
class Target:
    """A deployment inside a plan, with the parameters that its scenario sets."""

    deployment: Deployment
    overrides: Mapping[str, Any] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True, slots=True)
class ScenarioEntry:
    """One line of a scenario: a model reference, already in priority order."""

    model: str  # a deployment's name
    overrides: Mapping[str, Any] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A compiled configuration. A call keeps the one that it began with."""

    version: str  # a digest without secrets
    providers: Mapping[str, Provider]
    deployments: Mapping[str, Deployment]  # by name, in the file's order; the usable ones only
    left_out: Mapping[str, str]  # provider name -> why it is not here
    known: frozenset[str]  # every deployment name in the file, also of providers left out
    aliases: Mapping[str, str]
    tiers: Mapping[Tier, tuple[str, ...] | None]  # None: derived from the deployments' `tier`
    scenarios: Mapping[str, tuple[ScenarioEntry, ...]]
    default_route: str | None
    mode: Mode
    weights: Mapping[str, float]
    breaker: BreakerPolicy
    retry: RetryPolicy
    deadline: DeadlinePolicy
    thinking: Mapping[str, str] = field(default_factory=lambda: EMPTY)  # a tier's `reasoning_effort`
    queue: QueuePolicy = QueuePolicy()
    failures: Mapping[FailureClass, FailureRule] = field(default_factory=lambda: RULES)
    slow: SlowPolicy = SlowPolicy()
    hedge: HedgePolicy = HedgePolicy()
    probes: ProbePolicy = ProbePolicy()
    mid_stream: Literal["terminate", "continue"] = "terminate"
    content_fallback: frozenset[str] = frozenset()  # scenarios in which a refusal of content goes to the next target
    catalogue: Mapping[str, Mapping[str, Deployment]] = field(
        default_factory=lambda: EMPTY
    )  # provider name -> model id -> what is known of it; for the models that `any_model` allows


@dataclass(frozen=True, slots=True)
class RouterOptions:
    """What a client may ask of the router: the body's `router` object or the `x-router-*` headers."""

    mode: Mode | None = None
    max_cost_usd: float | None = None
    max_latency_ms: float | None = None
    require: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    key_id: str | None = None
    client_id: str | None = None
    task: str | None = None
    debug: bool = False
    max_wait_seconds: float | None = None
    disable_thinking: bool = False
    fallbacks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """One client request, read: `raw` as it came, `body` its parsed form without `router`, not to be changed."""

    id: str  # ours: req_...
    request_id: str  # the client's where sane, else ours
    endpoint: str  # chat
    raw: bytes = field(repr=False)
    body: Mapping[str, Any] = field(repr=False)
    model: str
    stream: bool
    usage_asked: bool  # the client wants the stream's usage chunk
    options: RouterOptions
    headers: Mapping[str, str] = field(repr=False)  # allow-listed, lower case, to be sent upstream
    snapshot: Snapshot = field(repr=False)
    kind: Kind = "chat"  # of the model that may serve it
    caller: str = "-"  # whose turn it is, where calls have to wait
    spans: Mapping[str, Span] = field(
        default_factory=lambda: EMPTY, repr=False
    )  # where the top-level members stand in `raw`


@dataclass(frozen=True, slots=True)
class DeploymentHealth:
    """What routing may know of a deployment's health at the moment of planning."""

    available: bool = True
    reason: str = ""  # why it is not available
    retry_after: float = 0.0  # seconds until it may be again
    latency: float | None = None  # seconds, measured over successes
    wait: float = 0.0  # seconds until there may be room under its limits
    used: int = 0  # number of its last use among all uses of equal models; 0: never


HealthView = Mapping[str, DeploymentHealth]


@dataclass(frozen=True, slots=True)
class Plan:
    """Ordered targets with the rule and the reason; `decision` is the decision record, as JSON values."""

    route: str  # `tier/low`, `scenario/support`, `openai/gpt-4o`, `auto`, ...
    rule: str  # direct | alias | bare | tier | scenario | auto | mode | default
    reason: str
    targets: tuple[Target, ...]
    decision: Mapping[str, Any] = field(repr=False)
    input_tokens: int = 0  # as estimated
    content_fallback: bool = False  # a refusal of content goes to the next target


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One attempt as the transport sees it."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)
    connect_timeout: float
    proxy: str | None = field(default=None, repr=False)
    ca: str | None = field(default=None, repr=False)  # certificates in PEM that are trusted beside the public roots
    method: str = "POST"
    mock: MockOptions | None = None
    dropped: tuple[str, ...] = ()  # parameters of the client that the target does not take
    fresh: bool = False  # on a connection of its own
    asks_usage: bool = False  # with `stream_options` that the client did not send
    further: tuple[bytes, ...] = field(default=(), repr=False)  # bodies to send after `content`; the answers are joined


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """Status, lower-case headers, and the decoded body as it comes. Iterating may raise `UpstreamFailure`."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncGenerator[bytes, None]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer. `cached` and `cache_write` are inside `input`, `reasoning` inside `output`."""

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    source: Literal["reported", "estimated", "clamped"] = "reported"  # clamped: reported as more than can be


@dataclass(slots=True)
class Attempt:
    """One try at one target, as the record keeps it. Times are milliseconds."""

    provider: str
    model: str
    key_id: str | None
    outcome: str = "started"
    status: int | None = None
    cause: str | None = None  # of a failed connection: dns, refused, tls, reset, timeout, ...
    error: str | None = None  # the same in words, without URL, credential or key
    ms: float = 0.0
    first_token_ms: float | None = None
    usage: Usage | None = None  # as estimated, of an attempt that lost or whose answer another one ended
    cost_nusd: int | None = None  # likewise


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back to the client; `chunks` may be iterated once, under `aclosing`."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncGenerator[bytes, None] = field(repr=False)
    stream: bool = False


@dataclass(frozen=True, slots=True)
class Continued:
    """Who wrote the rest of an answer that broke off, and where it begins."""

    provider: str
    model: str
    after_characters: int


@dataclass(slots=True)
class Record:
    """Everything that happened in one call."""

    id: str
    request_id: str
    started: float  # monotonic seconds
    time: float  # seconds since the epoch
    call: Call | None = None
    plan: Plan | None = None
    attempts: list[Attempt] = field(default_factory=list)
    chosen: Deployment | None = None
    usage: Usage | None = None
    cost_nusd: int | None = None
    outcome: str = "started"  # ok | error | partial | client_closed | draining
    status: int = 0
    code: str | None = None
    upstream_request_id: str | None = None
    native_finish: str | None = None  # the provider's own word for the end, of a translated answer
    dropped: tuple[str, ...] = ()  # parameters that the chosen target did not take
    continued: Continued | None = None  # the answer broke off, and `chosen` went on with it
    predicted_wait: float = 0.0  # seconds in the queue, as foreseen
    waited: float = 0.0  # seconds in the queue, as it was
    upstream_seconds: float = 0.0  # spent waiting for upstreams
    upstream_waits: int = 0  # ... under way: what is waited for at the same time counts once
    upstream_since: float = 0.0  # ... and when they began
    client_seconds: float = 0.0  # spent waiting for the client
    first_token: float | None = None  # monotonic seconds, the commit point
    committed: bool = False
