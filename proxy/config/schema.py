"""The whole file as strict types: every setting of every version, with its default, its bounds and a sentence.

Whether the names in it fit each other is checked in `references.py`, because that needs the whole file at once.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, SecretStr

from proxy.config.base import Number, Section
from proxy.config.providers import LimitSettings, ModelSettings, ProviderSettings
from proxy.config.resilience import ResilienceSettings
from proxy.config.routing import RoutingSettings
from proxy.config.server import ServerSettings
from proxy.config.units import PositiveDuration

Fail = Literal["open", "closed"]
ProviderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]


class DependencySettings(Section):
    """What happens when a dependency does not answer."""

    fail: Fail = Field(default="open", description="Whether calls go on without it (`open`) or are refused (`closed`).")


class DependenciesSettings(Section):
    """What happens when store or state do not answer."""

    store: DependencySettings = Field(
        default=DependencySettings(), description="For the store of records, keys and budgets."
    )
    state: DependencySettings = Field(
        default=DependencySettings(), description="For the shared state of limits and breakers."
    )


class ClaimSettings(Section):
    """Which claims of a token say who calls."""

    user: str | None = Field(default=None, description="The claim that names the user.")
    team: str | None = Field(default=None, description="The claim that names the team.")
    role: str | None = Field(default=None, description="The claim that names the role.")


class IssuerSettings(Section):
    """One issuer of tokens."""

    issuer: str = Field(description="The exact `iss` of its tokens.")
    audience: str = Field(description="The `aud` that its tokens must have.")
    jwks_url: str = Field(description="Where its public keys are.")
    algorithms: tuple[str, ...] = Field(default=("RS256",), description="The signature algorithms that are accepted.")
    claims: ClaimSettings = Field(default=ClaimSettings(), description="Which claims say who calls.")


class JwtSettings(Section):
    """Callers that show a token of an issuer."""

    issuers: tuple[IssuerSettings, ...] = Field(default=(), description="The issuers that are trusted.")


class AuthSettings(Section):
    """Who may call."""

    at: ClassVar[str | None] = "auth"

    mode: Literal["none", "keys", "jwt", "keys+jwt"] = Field(default="none", description="What callers must show.")
    admin_token: SecretStr | None = Field(
        default=None, description="The bearer token of `/admin`; absent: `/admin` is closed."
    )
    pepper: SecretStr | None = Field(default=None, description="The secret that digests of keys are made with.")
    encryption_key: SecretStr | None = Field(
        default=None, description="The secret that users' provider keys are sealed with."
    )
    jwt: JwtSettings = Field(default=JwtSettings(), description="Callers that show a token of an issuer.")


class BudgetSettings(Section):
    """How much may be spent."""

    scope: Literal["total", "provider", "team", "user", "key"] = Field(description="What the budget is for.")
    id: str | None = Field(default=None, description="Which provider, team, user or key.")
    usd: Number = Field(ge=0, description="How much may be spent in the period.")
    period: Literal["day", "week", "month", "total"] = Field(default="month", description="When it starts anew.")
    hard: bool = Field(default=True, description="Whether calls beyond it are refused.")
    timezone: str = Field(default="UTC", description="Where the period's midnight is.")


class UserBudgetSettings(Section):
    """What each user may spend."""

    usd: Number = Field(ge=0, description="How much may be spent in the period.")
    period: Literal["day", "week", "month", "total"] = Field(default="month", description="When it starts anew.")
    hard: bool = Field(default=True, description="Whether calls beyond it are refused.")


class DefaultSettings(Section):
    """What holds for users and keys that have nothing of their own."""

    user_budget: UserBudgetSettings | None = Field(default=None, description="What each user may spend.")
    key_limits: LimitSettings = Field(default=LimitSettings(), description="What each key may ask for.")


class CacheSettings(Section):
    """Answers that are kept."""

    at: ClassVar[str | None] = "cache"

    enabled: bool = Field(default=False, description="Whether equal requests share an answer.")
    ttl: PositiveDuration = Field(default=86400.0, description="How long an answer is kept.")


class LogSettings(Section):
    """What is written down."""

    at: ClassVar[str | None] = "logs"

    access: bool = Field(default=True, description="One JSON line a call, without content.")
    requests: Literal["none", "jsonl", "csv"] = Field(
        default="none", description="A file of requests with their content."
    )


class Settings(Section):
    """The configuration of Signalbox."""

    at: ClassVar[str | None] = ""

    server: ServerSettings = Field(default=ServerSettings(), description="How clients are served.")
    data_dir: str = Field(
        default=".signalbox", min_length=1, description="The folder of journal, database and learned state."
    )
    store: str = Field(
        default="sqlite",
        pattern=r"^(none|sqlite|sqlite:///.+|postgresql://.+)$",
        description="Where records, keys and budgets are kept: `none`, `sqlite`, `sqlite:///path` or `postgresql://...`.",
    )
    state: str = Field(
        default="memory",
        pattern=r"^(memory|rediss?://.+)$",
        description="Where limits, breakers and reservations are kept: `memory` or `redis://...`.",
    )
    dependencies: DependenciesSettings = Field(
        default=DependenciesSettings(), description="What happens when store or state do not answer."
    )
    testing: bool = Field(default=False, description="Whether `/admin/simulate` is there.")
    auth: AuthSettings = Field(default=AuthSettings(), description="Who may call.")
    providers: dict[ProviderName, ProviderSettings] = Field(default={}, description="Who answers, by name.")
    models: tuple[ModelSettings, ...] = Field(default=(), description="The models of the providers.")
    routing: RoutingSettings = Field(default=RoutingSettings(), description="What names stand for.")
    resilience: ResilienceSettings = Field(
        default=ResilienceSettings(), description="What happens when a target fails."
    )
    budgets: tuple[BudgetSettings, ...] = Field(default=(), description="How much may be spent.")
    defaults: DefaultSettings = Field(
        default=DefaultSettings(), description="What holds for users and keys that have nothing of their own."
    )
    cache: CacheSettings = Field(default=CacheSettings(), description="Answers that are kept.")
    logs: LogSettings = Field(default=LogSettings(), description="What is written down.")
    mock_when_no_keys: bool = Field(default=False, description="Whether the mock answers for providers without a key.")
