"""The guard: no endpoint of the admin API is reached without the token."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import replace
from unittest.mock import Mock

import pytest
from starlette.routing import Route

from proxy.admin.api import TOPICS, Api
from proxy.admin.assembly import build_admin
from proxy.admin.endpoint import AdminRoute
from proxy.admission.identify import IdentifyNone
from proxy.core.errors import NotAuthenticated
from proxy.core.principal import Identified, Principal
from tests.support.calls import deployment, live
from tests.unit.admin.context import TOKEN, context, serving

pytestmark = pytest.mark.anyio

WRONG = [None, "", "Bearer", "Bearer ", "Bearer wrong", "Bearer secre", "Bearer secrets", "Basic secret", "secret"]


def every_route() -> Iterator[tuple[str, str]]:
    """Yield method and path of each endpoint, and of some that do not exist."""
    for route in build_admin(context(live()), IdentifyNone()).guard.routes:
        assert isinstance(route, Route)
        for method in route.methods or ():
            yield method, f"/admin{route.path}"
    yield from (("GET", "/admin/"), ("GET", "/admin/none"), ("DELETE", "/admin/config"))


@pytest.mark.parametrize("authorization", WRONG)
async def test_no_route_is_open_without_the_token(authorization: str | None) -> None:
    headers = {"authorization": authorization} if authorization is not None else {}
    paths = list(every_route())
    async with serving(context(live(deployment(), testing=True))) as client:
        answers = [await client.request(method, path, headers=headers) for method, path in paths]

    assert len(paths) > 10
    assert [answer.status_code for answer in answers] == [401] * len(paths)


async def test_every_route_is_closed_without_a_configured_token() -> None:
    paths = list(every_route())
    async with serving(context(live()), token=None) as client:
        answers = [
            await client.request(method, path, headers={"authorization": "Bearer secret"}) for method, path in paths
        ]

    assert {answer.status_code for answer in answers} == {403}


async def test_the_token_opens_every_list() -> None:
    async with serving(context(live(deployment()))) as client:
        headers = {"authorization": f"bearer  {TOKEN} "}
        paths = [path for method, path in every_route() if method == "GET"][:-2]
        answers = [await client.get(path, headers=headers) for path in paths]

    assert {answer.status_code for answer in answers} <= {200, 400, 404}  # 400: this service has no store


async def test_a_token_that_is_not_ascii_is_wrong() -> None:
    async with serving(context(live())) as client:
        answer = await client.get("/admin/config", headers={"authorization": "Bearer s\u00e9cret".encode("latin-1")})

    assert answer.status_code == 401


class Roles:
    """Identifies a caller by the role that its credential names; `slow-` needs a look-up."""

    def __call__(self, headers: Mapping[str, str], address: str | None) -> Principal | None:
        credential = headers["authorization"].removeprefix("Bearer ")
        return None if credential.startswith("slow-") else self._of(credential)

    async def look_up(self, headers: Mapping[str, str], address: str | None) -> Principal:
        return self._of(headers["authorization"].removeprefix("Bearer slow-"))

    def _of(self, role: str) -> Principal:
        if role not in ("admin", "auditor", "member"):
            raise NotAuthenticated("Unknown.")
        return Identified(role, role=role)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("credential", "read", "write"),
    [
        (TOKEN, 200, 200),
        ("admin", 200, 200),
        ("slow-admin", 200, 200),
        ("auditor", 200, 403),
        ("member", 403, 403),
        ("slow-member", 403, 403),
        ("wrong", 401, 401),
    ],
)
async def test_a_role_opens_what_the_route_declares(credential: str, read: int, write: int) -> None:
    headers = {"authorization": f"Bearer {credential}"}
    async with serving(context(live(deployment())), identify=Roles()) as client:
        reading = await client.get("/admin/breakers", headers=headers)
        writing = await client.post("/admin/breakers/reset", headers=headers)

    assert (reading.status_code, writing.status_code) == (read, write)


async def test_no_role_opens_anything_without_a_configured_token() -> None:
    async with serving(context(live()), token=None, identify=Roles()) as client:
        answer = await client.get("/admin/breakers", headers={"authorization": "Bearer admin"})

    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "admin_disabled"


def test_every_route_declares_whether_it_changes_something() -> None:
    routes = build_admin(context(live()), IdentifyNone()).guard.routes

    wrong = [
        route
        for route in routes
        if not isinstance(route, AdminRoute)
        or route.permission != ("admin:read" if route.methods == {"GET", "HEAD"} else "admin:write")
    ]

    assert wrong == []


def test_the_topics_are_those_that_endpoints_answer() -> None:
    api = Api(context(live()))

    assert {topic for endpoint in api.endpoints for topic in endpoint.answers} == set(TOPICS)


async def test_the_endpoints_are_loaded_at_the_first_request() -> None:
    api = Api(context(live()))

    async with asyncio.TaskGroup() as group:
        loads = [group.create_task(api.load()) for _ in range(2)]

    assert loads[0].result() is loads[1].result()
    assert len(api.router.routes) > 10


async def test_a_deleted_key_is_forgotten_before_the_endpoints_are_loaded() -> None:
    storage = Mock()
    api = Api(replace(context(live()), storage=storage))

    await api.answers["forget"]("")

    storage.forget.assert_called_once_with()
    assert "endpoints" not in vars(api)
