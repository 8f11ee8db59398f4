"""Builds the admin API: all endpoints behind one guard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proxy.admin.api import Api
from proxy.admin.endpoint import Answer, Context
from proxy.admin.guard import AdminGuard
from proxy.admission.identify import Identify


@dataclass(frozen=True, slots=True)
class Admin:
    """The admin API."""

    guard: AdminGuard  # the application to mount at `/admin`
    answers: Mapping[str, Answer]  # to the questions of other workers, by topic


def build_admin(context: Context, identify: Identify) -> Admin:
    """Build it; `identify` finds callers with a role. Without a configured token every request is rejected."""
    api = Api(context)
    return Admin(AdminGuard(api, context.live, identify), api.answers)
