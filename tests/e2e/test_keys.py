"""Keys over HTTP: every route is closed without one, whatever the path and the host look like."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.routing import BaseRoute, Mount

from proxy.admission.keys import IssuedKey, Peppers, new_key
from proxy.admission.permissions import PermittedRoute
from proxy.core.accounts import Team, User, VirtualKey
from proxy.core.clock import SystemClock
from proxy.core.location import locate
from proxy.store.accounts import Accounts
from proxy.store.database import Database
from tests.support.servers import Running, signalbox
from tests.support.waiting import PATIENCE

PEPPER = "canary-pepper-8e41-0123456789abcdef"
TOKEN = "canary-admin-7a13"
UNKNOWN = new_key()
HELLO = {"model": "mock/small", "messages": [{"role": "user", "content": "Hello"}]}
CONFIG: dict[str, Any] = {
    "store": "sqlite",
    "auth": {"mode": "keys", "pepper": PEPPER, "admin_token": TOKEN},
    "providers": {"mock": {"dialect": "mock"}, "other": {"dialect": "mock"}},
    "models": [{"id": "mock/small", "tier": "low"}, {"id": "mock/large", "tier": "high"}, {"id": "other/small"}],
    "routing": {"aliases": {"nick": "other/small"}, "scenarios": {"both": ["other/small", "mock/small"]}},
}
ROWS: dict[str, dict[str, Any]] = {
    "member": {"user": "bob"},
    "admin": {"user": "root"},
    "auditor": {"user": "eve"},
    "disabled": {"disabled": True},
    "expired": {"expires_at": 1.0},
    "off": {"team": "off"},
    "narrow": {"models": ("other/*",)},
}


@dataclass(frozen=True)
class Box:
    """Signalbox with keys, by the name of their row."""

    running: Running
    keys: dict[str, IssuedKey]
    http: httpx.Client

    def credential(self, name: str | None) -> dict[str, str]:
        """The headers of a caller."""
        every = {name: issued.key for name, issued in self.keys.items()}
        every |= {"token": TOKEN, "unknown": UNKNOWN, "malformed": "sb-x", "other": "sk-proj-1"}
        return {} if name is None else {"authorization": f"Bearer {every[name]}"}

    def status(self, method: str, path: str, name: str | None, **more: Any) -> int:
        """The status of a request."""
        return self.http.request(method, f"{self.running.url}{path}", headers=self.credential(name), **more).status_code


async def _create(folder: Path) -> dict[str, IssuedKey]:
    """Write the keys into the database of the service."""
    location = locate("sqlite", str(folder / "data"))
    assert location is not None
    database = Database(location, SystemClock())
    accounts, peppers, issued = Accounts(database, SystemClock()), Peppers([PEPPER]), {}
    try:
        await accounts.create(Team(id="off", disabled=True), "test")
        await accounts.create(User(id="bob"), "test")
        await accounts.create(User(id="root", role="admin"), "test")
        await accounts.create(User(id="eve", role="auditor"), "test")
        for name, values in ROWS.items():
            issued[name] = peppers.issue()
            _, digest, pepper_id, prefix, last4 = issued[name]
            row = VirtualKey(
                id=f"key_{name}", name=name, digest=digest, pepper_id=pepper_id, prefix=prefix, last4=last4, **values
            )
            await accounts.create(row, "test")
    finally:
        await database.close()
    return issued


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    folder = tmp_path_factory.mktemp("keys")
    (folder / "data").mkdir()
    keys = asyncio.run(_create(folder))
    with (
        signalbox(CONFIG, folder) as running,
        httpx.Client(timeout=PATIENCE, trust_env=False) as http,
    ):
        yield Box(running, keys, http)


def routes_of(box: Box) -> list[tuple[str, str, str]]:
    """Method, path and permission of each route of the service."""
    app: Any = box.running.service.asgi
    rows: list[tuple[str, str, str]] = []

    def walk(routes: list[BaseRoute], prefix: str) -> None:
        for route in routes:
            if isinstance(route, Mount):
                walk(route.routes or route.app.routes, prefix + route.path)  # type: ignore[attr-defined]
                continue
            assert isinstance(route, PermittedRoute), f"{route} declares no permission"
            path = prefix + route.path.replace("{id:path}", "x").replace("{id}", "x")
            rows.extend((method, path, route.permission) for method in sorted((route.methods or set()) - {"HEAD"}))

    walk(app._app.routes, "")  # noqa: SLF001, the application behind the guard
    return rows


# What each credential may do; other statuses mean that the endpoint itself answered.
CLOSED = {
    None: {"identified": 401, "identified or token": 401, "admin:read": 401, "admin:write": 401},
    "unknown": {"identified": 401, "identified or token": 401, "admin:read": 401, "admin:write": 401},
    "malformed": {"identified": 401, "identified or token": 401, "admin:read": 401, "admin:write": 401},
    "other": {"identified": 401, "identified or token": 401, "admin:read": 401, "admin:write": 401},
    "expired": {"identified": 401, "identified or token": 401, "admin:read": 401, "admin:write": 401},
    "disabled": {"identified": 403, "identified or token": 403, "admin:read": 403, "admin:write": 403},
    "off": {"identified": 403, "identified or token": 403, "admin:read": 403, "admin:write": 403},
    "member": {"admin:read": 403, "admin:write": 403},
    "auditor": {"admin:write": 403},
    "admin": {},
    "token": {"identified": 401},
}


@pytest.mark.parametrize("name", CLOSED)
def test_every_route_is_open_to_whom_it_declares(box: Box, name: str | None) -> None:
    wrong = []
    rows = routes_of(box)
    for method, path, permission in rows:
        status = box.status(method, path, name)
        expected = CLOSED[name].get(permission)
        if status != expected if expected else status in (401, 403) and path != "/admin/simulate/failure":
            wrong.append((method, path, status))

    assert len(rows) > 20
    assert wrong == []


TRICKS = [
    "//v1/models",
    "/v1//models",
    "/v1/./models",
    "/livez/../v1/models",
    "/livez/%2e%2e/v1/models",
    "/%76%31/models",
    "/v1%2fmodels",
    "/v1/models;a=b",
    "/livez;/v1/models",
    "/V1/models",
    "/v1/models/",
    "/v1/models?key=",
    "/v1/models%00",
    "/v1/models%20",
    "/v1\\models",
    "//admin/config",
    "/admin//config",
    "/admin/./config",
    "/livez/..;/admin/config",
    "/livez/%2e%2e/admin/config",
    "/%61dmin/config",
    "/admin%2fconfig",
    "/admin/config;a=b",
    "/ADMIN/config",
    "/admin/config/",
    "/admin/%2e/config",
    "/metrics/../admin/config",
]
HOSTS = ["localhost", "127.0.0.1", "a/#@localhost", "localhost?", "localhost/admin", "evil.example", "user@localhost"]


def raw(url: str, target: str, *headers: str) -> tuple[int, bytes]:
    """Status and body of a request whose target is sent as it is."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname or "", address.port or 0), PATIENCE) as connection:
        lines = [f"GET {target} HTTP/1.1", *headers, "connection: close", "", ""]
        connection.sendall("\r\n".join(lines).encode())
        data = b""
        while piece := connection.recv(65536):
            data += piece
    return int(data.split(b" ", 2)[1]), data.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("target", TRICKS)
def test_no_form_of_a_path_opens_a_route(box: Box, target: str) -> None:
    for form in (target, f"http://localhost{target}"):
        status, body = raw(box.running.url, form, "host: localhost")

        assert status in (400, 401, 404), (form, status)
        assert b"mock/small" not in body
        assert json.loads(body)["error"]["message"]


@pytest.mark.parametrize("host", HOSTS)
def test_no_host_opens_a_route(box: Box, host: str) -> None:
    for path in ("/v1/models", "/admin/config"):
        alone, _ = raw(box.running.url, path, f"host: {host}")
        repeated, _ = raw(box.running.url, path, f"host: {host}", "host: localhost")

        assert {alone, repeated} <= {400, 401, 403}


def test_a_key_comes_in_each_header(box: Box) -> None:
    key = box.keys["member"].key
    forms = [{"authorization": f"Bearer {key}"}, {"x-api-key": key}, {"x-goog-api-key": key}]
    forms.append({**forms[0], **forms[1]})

    answers = [
        box.http.post(f"{box.running.url}/v1/chat/completions", json=HELLO, headers=headers) for headers in forms
    ]
    two = box.http.get(
        f"{box.running.url}/v1/models", headers={"x-api-key": key, "x-goog-api-key": box.keys["admin"].key}
    )
    query = box.http.get(f"{box.running.url}/v1/models", params={"key": key})

    assert [answer.status_code for answer in answers] == [200] * 4
    assert (two.status_code, query.status_code) == (400, 401)


def test_an_unknown_path_shows_nothing_without_a_key(box: Box) -> None:
    assert [box.status("GET", path, None) for path in ("/v1/none", "/admin/none", "/none")] == [404, 401, 404]


def test_a_key_sees_and_uses_only_its_models(box: Box) -> None:
    headers, url = box.credential("narrow"), box.running.url

    listed = [model["id"] for model in box.http.get(f"{url}/v1/models", headers=headers).json()["data"]]
    asked = {name: {**HELLO, "model": name} for name in ("nick", "scenario/both", "mock/small", "tier/low", "auto")}
    statuses = {
        name: box.http.post(f"{url}/v1/chat/completions", json=body, headers=headers).status_code
        for name, body in asked.items()
    }
    refused = box.http.post(f"{url}/v1/chat/completions", json=asked["tier/low"], headers=headers).json()["error"]
    decision = box.http.post(f"{url}/v1/route", json=asked["scenario/both"], headers=headers)

    assert listed == ["other/small", "nick", "scenario/both"]
    assert statuses == {"nick": 200, "scenario/both": 200, "mock/small": 403, "tier/low": 403, "auto": 403}
    assert (refused["code"], refused["type"], refused["param"]) == ("model_not_allowed", "permission_error", "model")
    assert "mock/small" not in decision.text
    assert decision.json()["chosen"] == "other/small"
    assert box.status("GET", "/v1/models/mock/small", "narrow") == 404
    assert box.status("GET", "/v1/models/other/small", "narrow") == 200


def test_errors_name_no_key(box: Box) -> None:
    for name in ("unknown", "disabled", "expired", "malformed"):
        headers = box.credential(name)
        answer = box.http.post(f"{box.running.url}/v1/chat/completions", json=HELLO, headers=headers)

        assert answer.status_code in (401, 403)
        assert headers["authorization"].removeprefix("Bearer ") not in answer.text
