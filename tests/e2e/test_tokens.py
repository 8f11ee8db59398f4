"""Tokens and keys from end to end: a real issuer over HTTP, keys of the admin API, and what reaches the upstream."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from proxy.core.clock import SystemClock
from tests.support.servers import RecordingUpstream, recording_upstream, serving, signalbox
from tests.support.tokens import AUDIENCE, ISSUER, RSA_KEYS, TokenIssuer

ADMIN = "canary-admin-19af"
PEPPER = "canary-pepper-8e41-0123456789abcdef"
HELLO = {"model": "up/small", "messages": [{"role": "user", "content": "Hello"}]}


class Box:
    """Signalbox, an issuer of tokens, and an upstream."""

    def __init__(self, url: str, http: httpx.Client, upstream: RecordingUpstream) -> None:
        self.url = url
        self.http = http
        self.upstream = upstream
        self.issuer = TokenIssuer()

    def token(self, *arguments: Any, **claims: Any) -> str:
        """A token that is valid now."""
        return self.issuer.token(SystemClock().time(), *arguments, **claims)

    def chat(self, credential: str) -> httpx.Response:
        """One call."""
        headers = {"authorization": f"Bearer {credential}"}
        return self.http.post(f"{self.url}/v1/chat/completions", json=HELLO, headers=headers)

    def admin(self, method: str, path: str, credential: str = ADMIN, **more: Any) -> httpx.Response:
        """One request to the admin API."""
        headers = {"authorization": f"Bearer {credential}"}
        return self.http.request(method, f"{self.url}/admin/{path}", headers=headers, **more)


@pytest.fixture
def box(tmp_path: Path, http: httpx.Client) -> Iterator[Box]:
    keys: list[Box] = []

    async def serve(request: Request) -> Response:
        box = keys[0]
        box.issuer.fetches += 1
        return JSONResponse({"keys": box.issuer.keys})

    with serving(Starlette(routes=[Route("/keys", serve)])) as issuer, recording_upstream() as (upstream, recorded):
        config = {
            "store": "sqlite",
            "auth": {
                "mode": "keys+jwt",
                "admin_token": ADMIN,
                "pepper": PEPPER,
                "jwt": {
                    "issuers": [
                        {
                            "issuer": ISSUER,
                            "audience": AUDIENCE,
                            "jwks_url": f"{issuer}/keys",
                            "claims": {"role": "realm_access.roles"},
                        }
                    ]
                },
            },
            "providers": {"up": {"base_url": upstream, "keys": [{"value": "sk-upstream-0123456789"}]}},
            "models": [{"id": "up/small"}],
        }
        with signalbox(config, tmp_path) as running:
            keys.append(Box(running.url, http, recorded))
            yield keys[0]


def test_a_token_calls_and_its_role_opens_the_admin_api(box: Box) -> None:
    roles = {role: box.token(realm_access={"roles": ["x", role]}, sub=role) for role in ("member", "auditor", "admin")}

    calls = {role: box.chat(token).status_code for role, token in roles.items()}
    reads = {role: box.admin("GET", "keys", token).status_code for role, token in roles.items()}
    writes = {role: box.admin("POST", "keys", token, json={"name": role}).status_code for role, token in roles.items()}

    assert calls == {"member": 200, "auditor": 200, "admin": 200}
    assert reads == {"member": 403, "auditor": 200, "admin": 200}
    assert writes == {"member": 403, "auditor": 403, "admin": 201}
    assert box.issuer.fetches == 1
    assert box.chat(box.token(sub="nobody")).status_code == 401  # no role
    assert box.chat(box.token(RSA_KEYS[1], realm_access={"roles": ["admin"]})).status_code == 401


def test_a_key_works_from_its_creation_to_its_end(box: Box) -> None:
    created = box.admin("POST", "keys", json={"name": "mine"}).json()
    key, id = created["key"], created["id"]

    before = box.chat(key).status_code
    box.admin("PATCH", f"keys/{id}", json={"models": ["other/*"]})
    narrowed = box.chat(key)
    box.admin("PATCH", f"keys/{id}", json={"models": ["up/*"], "disabled": True})
    disabled = box.chat(key)
    box.admin("PATCH", f"keys/{id}", json={"disabled": False})
    again = box.chat(key).status_code
    box.admin("DELETE", f"keys/{id}")
    deleted = box.chat(key)

    assert (before, again) == (200, 200)
    assert [(answer.status_code, answer.json()["error"]["code"]) for answer in (narrowed, disabled, deleted)] == [
        (403, "model_not_allowed"),
        (403, "key_disabled"),
        (401, "invalid_api_key"),
    ]


def test_no_credential_reaches_the_upstream(box: Box) -> None:
    key = box.admin("POST", "keys", json={"name": "mine"}).json()["key"]
    token = box.token(realm_access={"roles": "member"})
    for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": token}, {"x-goog-api-key": key}):
        assert box.http.post(f"{box.url}/v1/chat/completions", json=HELLO, headers=headers).status_code == 200

    sent = [str(request.headers) + request.content.decode() for request in box.upstream.requests]

    assert len(sent) == 3
    assert [text for text in sent if key in text or token in text or ADMIN in text or PEPPER in text] == []
