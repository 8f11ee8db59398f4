"""All endpoints of the admin API."""

from __future__ import annotations

from collections.abc import Callable

from proxy.admin.accounts import AccountObjects
from proxy.admin.agents import AgentEndpoints
from proxy.admin.audit import Audit
from proxy.admin.breakers import Breakers
from proxy.admin.budgets import BudgetRows
from proxy.admin.config import Config
from proxy.admin.endpoint import Context, Endpoint
from proxy.admin.learning import Learning
from proxy.admin.limits import LimitRows
from proxy.admin.models import Models
from proxy.admin.provider_keys import OwnProviderKeys
from proxy.admin.providers import Providers
from proxy.admin.queues import Queues
from proxy.admin.requests import Requests
from proxy.admin.simulate import Simulate
from proxy.admin.usage import Usage

ENDPOINTS: tuple[Callable[[Context], Endpoint], ...] = (
    Providers,
    Breakers,
    LimitRows,
    Learning,
    Queues,
    Config,
    Simulate,
    AccountObjects,
    BudgetRows,
    Usage,
    Requests,
    Models,
    AgentEndpoints,
    Audit,
    OwnProviderKeys,
)
