"""Providers, their keys and their models, as compiled from the configuration.

Durations are in seconds, money is in nano-dollars, and no `repr` contains secrets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from proxy.core.dialects import DIALECTS, DialectName, NativeFormat

Tier = Literal["low", "medium", "high"]
Mode = Literal["fast", "balanced", "accurate"]
UserKeys = Literal["prefer", "only", "off"]  # what a user's own keys of a provider are for
Kind = Literal["chat", "completion", "embedding", "image", "audio", "moderation"]

TIERS: tuple[Tier, ...] = ("low", "medium", "high")
MODES: tuple[Mode, ...] = ("fast", "balanced", "accurate")
TASKS = ("code", "writing", "analysis", "translation", "math", "extraction", "chat")
CAPABILITIES = ("tools", "vision", "json_schema", "reasoning", "audio", "files", "prefill")
OTHER = "other"  # the label of what is not in the configuration
KEYLESS = "-"  # the key id used for keyless providers
DAY = 86_400  # seconds
RESERVED = ("tier", "scenario", "mode", "agent", "auto")

EMPTY: Mapping[str, Any] = MappingProxyType({})


class RouteKey(NamedTuple):
    """One key of one model at one provider: the unit of breakers, cooldowns and limits."""

    provider: str
    model: str
    key_id: str

    def matches(self, provider: str | None, model: str | None, key_id: str | None) -> bool:
        """Return whether the given parts are equal; `None` matches all."""
        return (
            (provider is None or provider == self.provider)
            and (model is None or model == self.model)
            and (key_id is None or key_id == self.key_id)
        )


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
    own: bool = False  # a user's own key, not one of the configuration


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Timeouts in seconds. For streams, `first_token` ends at the commit point, `idle` applies between later bytes."""

    connect: float = 5.0
    first_token: float = 120.0
    idle: float = 60.0
    total: float = 600.0


@dataclass(frozen=True, slots=True)
class MediaPrice:
    """Prices of tokens that are not text, in nano-dollars per million tokens."""

    input_audio: int
    cached_audio: int
    output_audio: int
    input_image: int
    cached_image: int
    output_image: int


@dataclass(frozen=True, slots=True)
class Price:
    """Prices in nano-dollars per million tokens: USD 0.15 per million is 150_000_000.

    The price of an attempt depends on its start (`times`), then on the service tier that the provider reports
    (`services`), then on the number of input tokens (`tiers`); most prices have none of these.
    """

    input: int
    output: int
    cached_input: int
    cache_write: int
    cache_write_1h: int | None = None  # of a cache that lasts an hour; None: as `cache_write`
    reasoning: int | None = None  # None: as `output`
    request: int = 0  # nano-dollars of each request
    media: MediaPrice | None = None  # None: as text
    tiers: tuple[PriceTier, ...] = ()  # by `above`, ascending
    services: tuple[tuple[str, Price], ...] = ()  # of service tiers (`flex`, `priority`) that cost more or less
    times: tuple[PriceTime, ...] = ()  # the first that is active has the price; without one, it is this price
    version: str = field(default="", compare=False)  # names the source of the prices, and its version
    is_flat: bool = field(init=False, repr=False, compare=False)  # the same for all times, lengths and kinds of tokens

    def __post_init__(self) -> None:
        special = self.times or self.tiers or self.media or self.request or self.reasoning is not None
        object.__setattr__(self, "is_flat", not special)

    def at(self, us: int) -> Price:
        """Return the price at a time, in microseconds since 1970."""
        for time in self.times:
            if time.is_active(us):
                return time.price
        return self

    def of(self, input_tokens: int, service: str | None = None) -> Price:
        """Return the price of an answer with so many input tokens, all of which cost the same."""
        price = self if service is None else dict(self.services).get(service, self)
        for tier in reversed(price.tiers):
            if input_tokens > tier.above:
                return tier.price
        return price


@dataclass(frozen=True, slots=True)
class PriceTier:
    """The price of answers with more than `above` input tokens."""

    above: int
    price: Price


@dataclass(frozen=True, slots=True)
class PriceTime:
    """A price that begins at a point in time, or holds for a part of each day in UTC."""

    price: Price
    start: int = 0  # microseconds since 1970
    day_from: int = 0  # seconds of the day; may be after `day_until`, across midnight
    day_until: int = DAY

    def is_active(self, us: int) -> bool:
        """Return whether the price holds at a time, in microseconds since 1970."""
        second = us // 1_000_000 % DAY
        if self.day_until < self.day_from:
            in_day = second >= self.day_from or second < self.day_until
        else:
            in_day = self.day_from <= second < self.day_until
        return us >= self.start and in_day


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
    user_keys: UserKeys = "off"
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
    responses: Literal["translate", "native"] = "translate"  # OpenAI: whether it has `/v1/responses` itself
    stand_in: bool = False  # a mock that answers for a provider without keys
    stand_in_reason: str = ""  # why the provider itself cannot be used

    @property
    def own_key(self) -> ProviderKey | None:
        """The user's own key, if calls are made with that one and no other."""
        return self.keys[0] if self.keys and self.keys[0].own else None

    @property
    def native_format(self) -> NativeFormat | None:
        """The format of clients that the provider speaks itself, so that their bodies pass unchanged."""
        native = DIALECTS[self.dialect].native
        return None if native == "responses" and self.responses == "translate" else native

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
    image_tokens: int | None = None  # the most input tokens of one image
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
    routes: tuple[RouteKey, ...] = field(init=False, repr=False, compare=False)  # one for each key, in their order
    limited: bool = field(init=False, repr=False, compare=False)  # whether any of its keys has a configured limit
    billed_price: Price | None = field(init=False, repr=False, compare=False)  # `None`: no price, or a mock answers
    labels: tuple[str, str] = field(init=False, repr=False, compare=False)  # provider and model in metrics

    def __post_init__(self) -> None:
        provider = self.provider
        ids = [key.id for key in provider.keys] or [KEYLESS]
        limited = self.limits is not None or any(key.limits is not None for key in provider.keys)
        object.__setattr__(self, "name", f"{provider.name}/{self.model}")
        object.__setattr__(self, "routes", tuple([RouteKey(provider.name, self.model, key_id) for key_id in ids]))
        object.__setattr__(self, "limited", limited)
        object.__setattr__(self, "billed_price", None if provider.stand_in else self.price)
        # a client cannot create series: a model that only a client has named is `other`
        object.__setattr__(self, "labels", (provider.label, self.model if self.listed else OTHER))

    def route(self, key_id: str) -> RouteKey:
        """Return the route key of one of its keys."""
        return RouteKey(self.provider.name, self.model, key_id)
