"""The value types of a call: frozen, without behaviour beyond derived properties.

The exception is `Record`, the only mutable object of a call: the pipeline and the attempt loop write it, settling reads
it. Durations are in seconds, money is in nano-dollars, and no `repr` contains secrets.
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
KEYLESS = "-"  # the key id used for keyless providers
RESERVED = ("tier", "scenario", "mode", "agent", "auto")

EMPTY: Mapping[str, Any] = MappingProxyType({})


def way(deployment: str, key_id: str) -> str:
    """Return the route key of one key of a deployment."""
    return f"{deployment}#{key_id}"


@dataclass(frozen=True, slots=True)
class LimitValues:
    """Limits per minute, per 24 hours, and of concurrent requests; `None` is unlimited."""

    rpm: int | None = None
    rpd: int | None = None
    tpm: int | None = None
    tpd: int | None = None
    concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class ProviderKey:
    """One provider key; `weight` is its share of the calls."""

    id: str
    value: str = field(repr=False)
    weight: float = 1
    limits: LimitValues | None = None  # each given limit replaces the model's


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Timeouts in seconds. For streams, `first_token` ends at the commit point, `idle` applies between later bytes."""

    connect: float = 5.0
    first_token: float = 120.0
    idle: float = 60.0
    total: float = 600.0


@dataclass(frozen=True, slots=True)
class Price:
    """Prices in nano-dollars per million tokens: USD 0.15 per million is 150_000_000."""

    input: int
    output: int
    cached_input: int
    cache_write: int


@dataclass(frozen=True, slots=True)
class MockOptions:
    """The behaviour of the mock provider; `failure_rate` draws from the kinds in `faults`."""

    seed: int = 42
    latency: float = 0.0
    tokens: int | None = None
    failure_rate: float = 0.0
    faults: tuple[str, ...] = ("error",)


@dataclass(frozen=True, slots=True)
class Provider:
    """An organisation or server with a base URL and keys. Without keys it is called without a credential."""

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
        """The provider's label in metrics and log lines: `mock` for a stand-in, else its name."""
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
    latency: float | None = None  # seconds; the estimate until latency is measured
    capabilities: frozenset[str] | None = None
    specialties: frozenset[str] = frozenset()
    quality: float | None = None
    timeouts: Timeouts = Timeouts()
    unsupported: frozenset[str] = frozenset()  # OpenAI parameters that the model rejects
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
    """A compiled configuration. A call keeps the one with which it began."""

    version: str  # a digest of the configuration without secrets
    providers: Mapping[str, Provider]
    deployments: Mapping[str, Deployment]  # by name, in the file's order; the usable ones only
    left_out: Mapping[str, str]  # provider name -> reason why it is left out
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
    """The client's routing options, from the body's `router` object or the `x-router-*` headers."""

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
    """One parsed client request: `raw` as received, `body` parsed and without `router`; do not modify it."""

    id: str  # assigned by the proxy: req_...
    request_id: str  # from the client if it is valid, else assigned by the proxy
    endpoint: str  # chat
    raw: bytes = field(repr=False)
    body: Mapping[str, Any] = field(repr=False)
    model: str
    stream: bool
    usage_asked: bool  # the client requests the stream's usage chunk
    options: RouterOptions
    headers: Mapping[str, str] = field(repr=False)  # allow-listed, lower case, to be sent upstream
    snapshot: Snapshot = field(repr=False)
    kind: Kind = "chat"  # the kind of model that can serve it
    caller: str = "-"  # the queue shares capacity evenly between callers
    spans: Mapping[str, Span] = field(
        default_factory=lambda: EMPTY, repr=False
    )  # where the top-level members stand in `raw`


@dataclass(frozen=True, slots=True)
class DeploymentHealth:
    """The health of a deployment when the plan is made."""

    available: bool = True
    reason: str = ""  # why it is unavailable
    retry_after: float = 0.0  # seconds until it may be available again
    latency: float | None = None  # seconds, measured over successes
    wait: float = 0.0  # expected seconds until its limits have capacity
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
    """The HTTP request of one attempt."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)
    connect_timeout: float
    proxy: str | None = field(default=None, repr=False)
    ca: str | None = field(default=None, repr=False)  # certificates in PEM that are trusted beside the public roots
    method: str = "POST"
    mock: MockOptions | None = None
    dropped: tuple[str, ...] = ()  # client parameters that the target does not support
    fresh: bool = False  # use a new connection
    asks_usage: bool = False  # contains `stream_options` that the client did not send
    further: tuple[bytes, ...] = field(default=(), repr=False)  # bodies to send after `content`; the answers are joined


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """Status, lower-case headers, and the chunks of the decoded body, whose iteration may raise `UpstreamFailure`."""

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
    source: Literal["reported", "estimated", "clamped"] = "reported"  # clamped: more than possible was reported


@dataclass(slots=True)
class Attempt:
    """One attempt in the record. Times are in milliseconds."""

    provider: str
    model: str
    key_id: str | None
    outcome: str = "started"
    status: int | None = None
    cause: str | None = None  # cause of a failed connection: dns, refused, tls, reset, timeout, ...
    error: str | None = None  # the message of that failure, without URL, credential or key
    ms: float = 0.0
    first_token_ms: float | None = None
    usage: Usage | None = None  # estimated, for an attempt that lost a hedge or was continued
    cost_nusd: int | None = None  # estimated from that usage


@dataclass(frozen=True, slots=True)
class Reply:
    """The response to the client; iterate `chunks` once, under `aclosing`."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncGenerator[bytes, None] = field(repr=False)
    stream: bool = False


@dataclass(frozen=True, slots=True)
class Continued:
    """The target that continued a broken answer, and the position in characters."""

    provider: str
    model: str
    after_characters: int


@dataclass(slots=True)
class Record:
    """The record of one call."""

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
    native_finish: str | None = None  # the provider's finish reason of a translated answer
    dropped: tuple[str, ...] = ()  # parameters that the chosen target does not support
    continued: Continued | None = None  # the answer broke off, and `chosen` went on with it
    predicted_wait: float = 0.0  # predicted seconds in the queue
    waited: float = 0.0  # actual seconds in the queue
    upstream_seconds: float = 0.0  # spent waiting for upstreams
    upstream_waits: int = 0  # waits in progress; concurrent waits count once
    upstream_since: float = 0.0  # when the waits in progress began
    client_seconds: float = 0.0  # spent waiting for the client
    first_token: float | None = None  # monotonic seconds, the commit point
    committed: bool = False
