"""The permissions of routes. Every route declares one, so that no route is open by omission."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from starlette.middleware import Middleware
from starlette.routing import Route

PRINCIPAL = "signalbox.principal"  # the key of the `Principal` in the scope of a request; absent with the admin token

Permission = Literal[
    "open",  # without a credential
    "identified",  # any caller that `auth.mode` admits
    "identified or token",  # the same, and the admin token
    "admin:read",  # the admin token, and the roles admin and auditor
    "admin:write",  # the admin token, and the role admin
]


class PermittedRoute(Route):
    """A route with a declared permission, which is checked in front of its endpoint."""

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        permission: Permission,
        methods: Sequence[str] | None = ("GET",),
        middleware: Sequence[Middleware] = (),
        include_in_schema: bool = True,
    ) -> None:
        super().__init__(
            path,
            endpoint,
            methods=None if methods is None else list(methods),  # `None`: `endpoint` is an application, which decides
            middleware=middleware,
            include_in_schema=include_in_schema,
        )
        self.permission = permission
