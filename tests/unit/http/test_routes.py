"""The table of paths: under `/v1` no endpoint is reached before the caller is identified."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from proxy.admission.permissions import PermittedRoute
from proxy.core.errors import NotAuthenticated, ProxyError
from proxy.core.principal import Principal
from proxy.surfaces.table import SURFACES
from tests.support.routes import routes_with

pytestmark = pytest.mark.anyio

OPEN = {"/livez", "/readyz", "/healthz", "/metrics"}  # without a credential


def client(identify: Any, *, has_token: bool = False) -> tuple[httpx.AsyncClient, list[tuple[str, str]]]:
    """A client of all routes, and the ordinary ones under `/v1`; `has_token`: it sends the admin token."""
    admin = Mock(admits=lambda request: has_token)
    table = routes_with(identify=identify, admin=admin)
    under_v1 = [route for route in table if isinstance(route, Route) and route.path.startswith("/v1")]
    paths = [(method, route.path) for route in under_v1 for method in sorted((route.methods or set()) - {"HEAD"})]

    async def refused(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, ProxyError)
        return Response(status_code=exc.http_status)

    app = Starlette(routes=table, exception_handlers={ProxyError: refused})
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://box"), paths


async def test_endpoints_get_the_identified_caller() -> None:
    http, paths = client(lambda headers, address: Principal(f"{headers['authorization']} {address}"))

    answers = [await http.request(method, path, headers={"authorization": "x"}) for method, path in paths]

    assert len(paths) >= 3
    assert [answer.json() for answer in answers] == ["x 127.0.0.1"] * len(paths)


async def test_no_endpoint_serves_an_unidentified_caller() -> None:
    def reject(headers: Any, address: Any) -> Principal:
        raise NotAuthenticated("Send a key.")

    http, paths = client(reject)

    answers = [await http.request(method, path) for method, path in paths]

    assert {answer.status_code for answer in answers} == {401}
    assert (await http.get("/livez")).status_code == 200


async def test_the_admin_token_opens_only_the_organization() -> None:
    def reject(headers: Any, address: Any) -> Principal:
        raise NotAuthenticated("Send a key.")

    http, paths = client(reject, has_token=True)

    answers = {path: (await http.request(method, path)).status_code for method, path in paths}

    assert {path for path, status in answers.items() if status == 200} == {
        "/v1/organization/usage/completions",
        "/v1/organization/costs",
    }


async def test_an_endpoint_waits_for_a_caller_who_is_looked_up() -> None:
    class Slow:
        def __call__(self, headers: Any, address: Any) -> None:
            return None

        async def look_up(self, headers: Any, address: Any) -> Principal:
            return Principal(headers["x-api-key"])

    http, paths = client(Slow())

    answers = [await http.request(method, path, headers={"x-api-key": "x"}) for method, path in paths]

    assert [answer.json() for answer in answers] == ["x"] * len(paths)


def test_every_route_declares_its_permission() -> None:
    table = routes_with(identify=Mock(), admin=Mock(), proxied={path: Mock() for path in SURFACES})
    undeclared = [route for route in table if not isinstance(route, PermittedRoute | Mount)]
    declared = {route.path: route.permission for route in table if isinstance(route, PermittedRoute)}

    assert undeclared == []
    assert {path for path, permission in declared.items() if permission == "open"} == OPEN
    assert {
        path
        for path, permission in declared.items()
        if path.startswith("/v1") and not permission.startswith("identified")
    } == set()


def test_nothing_under_admin_is_outside_its_guard() -> None:
    admin = Mock()
    table = routes_with(identify=Mock(), admin=admin)

    matched = [
        route for route in table if route.matches({"type": "http", "path": "/admin/x", "method": "GET"})[0].value
    ]
    bare = [route for route in table if isinstance(route, Route) and route.path.startswith("/admin")]

    assert [route.app for route in matched if isinstance(route, Mount)] == [admin]
    assert len(matched) == 1
    assert [(route.path, route.endpoint) for route in bare] == [("/admin", admin)]
