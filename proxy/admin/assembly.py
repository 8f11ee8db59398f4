"""Builds the admin API: all endpoints behind one guard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.routing import Router

from proxy.admin.accounts import AccountObjects
from proxy.admin.agents import AgentEndpoints
from proxy.admin.audit import Audit
from proxy.admin.breakers import Breakers
from proxy.admin.budgets import BudgetRows
from proxy.admin.config import Config
from proxy.admin.endpoint import Answer, Context, Endpoint
from proxy.admin.guard import AdminGuard
from proxy.admin.learning import Learning
from proxy.admin.limits import LimitRows
from proxy.admin.models import Models
from proxy.admin.provider_keys import OwnProviderKeys
from proxy.admin.providers import Providers
from proxy.admin.queues import Queues
from proxy.admin.requests import Requests
from proxy.admin.simulate import Simulate
from proxy.admin.usage import Usage
from proxy.admission.identify import Identify

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


@dataclass(frozen=True, slots=True)
class Admin:
    """The admin API."""

    guard: AdminGuard  # the application to mount at `/admin`
    answers: dict[str, Answer]  # to the questions of other workers, by topic


def build_admin(context: Context, identify: Identify) -> Admin:
    """Build it; `identify` finds callers with a role. Without a configured token every request is rejected."""
    endpoints = [endpoint(context) for endpoint in ENDPOINTS]
    routes = [route for endpoint in endpoints for route in endpoint.routes]
    answers = {topic: answer for endpoint in endpoints for topic, answer in endpoint.answers.items()}
    return Admin(AdminGuard(Router(routes, redirect_slashes=False), context.live, identify), answers)
