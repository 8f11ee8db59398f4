"""The whole file as strict types: every setting of every version, with its default, its bounds and a sentence.

`check/references.py` checks the references between names, because that needs the whole file.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from proxy.config.settings.agents import AgentId, AgentSettings
from proxy.config.settings.auth import AuthSettings
from proxy.config.settings.base import Number, Section
from proxy.config.settings.keys import LimitSettings
from proxy.config.settings.learning import LearningSettings
from proxy.config.settings.models import ModelSettings
from proxy.config.settings.providers import ProviderSettings
from proxy.config.settings.resilience import ResilienceSettings
from proxy.config.settings.routing import RoutingSettings
from proxy.config.settings.server import ServerSettings
from proxy.config.settings.units import PositiveDuration
from proxy.core.location import locate

Fail = Literal["open", "closed"]
ProviderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]


class DependencySettings(Section):
    """How calls are handled while a dependency is unavailable."""

    fail: Fail = Field(default="open", description="Serve calls without it (`open`) or reject them (`closed`).")


class DependenciesSettings(Section):
    """How calls are handled while the store or the state is unavailable."""

    at: ClassVar[str | None] = "dependencies"

    store: DependencySettings = Field(
        default=DependencySettings.model_construct(), description="The store of records, keys and budgets."
    )
    state: DependencySettings = Field(
        default=DependencySettings.model_construct(), description="The shared state of limits and breakers."
    )


def _time_zone(value: str) -> str:
    from zoneinfo import ZoneInfo  # only here: most configurations name none

    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):  # unknown, or not the name of a file in the database
        raise ValueError("is not a known time zone; use a name such as `Europe/Berlin` or `UTC`") from None
    return value


TimeZone = Annotated[str, AfterValidator(_time_zone)]


class BudgetSettings(Section):
    """A spending limit."""

    scope: Literal["total", "provider", "team", "user", "key"] = Field(
        description="The kind of spending that the budget covers."
    )
    id: str | None = Field(default=None, description="The provider, team, user or key that it covers.")
    usd: Number = Field(ge=0, description="The amount that may be spent in one period.")
    period: Literal["day", "week", "month", "total"] = Field(
        default="month", description="The period after which the budget resets."
    )
    hard: bool = Field(default=True, description="Reject calls that exceed the budget.")
    timezone: TimeZone = Field(default="UTC", description="The time zone in which periods begin.")


class UserBudgetSettings(Section):
    """The default budget of a user."""

    usd: Number = Field(ge=0, description="The amount that may be spent in one period.")
    period: Literal["day", "week", "month", "total"] = Field(
        default="month", description="The period after which the budget resets."
    )
    hard: bool = Field(default=True, description="Reject calls that exceed the budget.")


class DefaultSettings(Section):
    """Defaults for users and keys without settings of their own."""

    at: ClassVar[str | None] = "defaults"

    user_budget: UserBudgetSettings | None = Field(default=None, description="The budget of each user.")
    key_limits: LimitSettings = Field(default=LimitSettings.model_construct(), description="The limits of each key.")


class ConversationSettings(Section):
    """Stored conversations and responses."""

    at: ClassVar[str | None] = "conversations"

    retention: PositiveDuration | None = Field(
        default=30 * 86400.0,
        description="How long the store keeps a response or a conversation after its last turn; `null`: for ever.",
    )


class PromptSettings(Section):
    """Stored prompts."""

    at: ClassVar[str | None] = "prompts"

    store: bool = Field(default=False, description="Store the prompts of `auto` with their profiles.")


class CacheSettings(Section):
    """The response cache."""

    at: ClassVar[str | None] = "cache"

    enabled: bool = Field(default=False, description="Answer equal requests from the cache.")
    ttl: PositiveDuration = Field(default=86400.0, description="How long a response stays in the cache.")


class LogSettings(Section):
    """Access and request logs."""

    at: ClassVar[str | None] = "logs"

    access: bool = Field(default=True, description="Log one JSON line per call, without content.")
    retention: PositiveDuration | None = Field(
        default=90 * 86400.0,
        description="How long the store keeps the records of calls and attempts; `null`: for ever. Sums are kept.",
    )
    requests: Literal["none", "jsonl", "csv"] = Field(
        default="none", description="Log one line per call to a file in this format, without content."
    )
    daily: bool = Field(default=False, description="Write a file with the sums of the calls of each day.")


def _located(store: str) -> str:
    """Return the setting `store`. Raises `ValueError` if it is not a valid location."""
    locate(store, "")
    return store


class Settings(Section):
    """The configuration of Signalbox."""

    at: ClassVar[str | None] = ""

    server: ServerSettings = Field(default=ServerSettings.model_construct(), description="The HTTP server.")
    data_dir: str = Field(
        default=".signalbox", min_length=1, description="The directory for the journal, the database and learned state."
    )
    store: Annotated[str, AfterValidator(_located)] = Field(
        default="sqlite",
        pattern=r"^(none|sqlite|sqlite:///.+|postgresql://.+)$",
        description="The storage of records, keys and budgets: `none`, `sqlite`, `sqlite:///path` or `postgresql://...`.",
    )
    state: str = Field(
        default="memory",
        pattern=r"^(memory|rediss?://.+)$",
        description="The storage of limits, breakers and reservations: `memory` or `redis://...`.",
    )
    dependencies: DependenciesSettings = Field(
        default=DependenciesSettings.model_construct(),
        description="How calls are handled while the store or the state is unavailable.",
    )
    testing: bool = Field(default=False, description="Enable `/admin/simulate`.")
    auth: AuthSettings = Field(default=AuthSettings.model_construct(), description="How clients are authenticated.")
    providers: dict[ProviderName, ProviderSettings] = Field(default={}, description="The providers, by name.")
    models: tuple[ModelSettings, ...] = Field(default=(), description="The models of the providers.")
    routing: RoutingSettings = Field(
        default=RoutingSettings.model_construct(), description="How model names are resolved to targets."
    )
    resilience: ResilienceSettings = Field(
        default=ResilienceSettings.model_construct(), description="How failures of targets are handled."
    )
    agents: dict[AgentId, AgentSettings] = Field(
        default={}, description="Presets of instructions, model, tools and parameters, by id."
    )
    budgets: tuple[BudgetSettings, ...] = Field(default=(), description="The spending limits.")
    defaults: DefaultSettings = Field(
        default=DefaultSettings.model_construct(),
        description="Defaults for users and keys without settings of their own.",
    )
    conversations: ConversationSettings = Field(
        default=ConversationSettings.model_construct(), description="Stored conversations and responses."
    )
    learning: LearningSettings = Field(
        default=LearningSettings.model_construct(), description="Learning from the judged answers of `auto`."
    )
    prompts: PromptSettings = Field(default=PromptSettings.model_construct(), description="Stored prompts.")
    cache: CacheSettings = Field(default=CacheSettings.model_construct(), description="The response cache.")
    logs: LogSettings = Field(default=LogSettings.model_construct(), description="Access and request logs.")
    mock_when_no_keys: bool = Field(default=False, description="Let the mock answer for providers without a key.")
