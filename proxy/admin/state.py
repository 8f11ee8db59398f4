"""`/admin/providers`, `/admin/breakers` and `/admin/config`: state as the router sees it, secrets never."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.admin.access import AdminAccess
from proxy.admin.pages import page
from proxy.core.errors import InvalidRequest
from proxy.core.types import KEYLESS, Provider, Snapshot
from proxy.upstream.diagnosis import Diagnosis, diagnose
from proxy.upstream.health import Health
from proxy.upstream.limits import Limits


class ResetBody(BaseModel):
    """Which breakers to close; what is left out matches all."""

    model_config = ConfigDict(extra="forbid", strict=True)

    provider: str | None = None
    model: str | None = None
    key: str | None = None


class State:
    """The endpoints; each asks for the admin token first."""

    def __init__(
        self,
        *,
        access: AdminAccess,
        snapshot: Callable[[], Snapshot],
        health: Health,
        limits: Limits,
        queues: Callable[[], list[dict[str, Any]]],
        config: Callable[[], dict[str, Any]],
        read: Callable[[Request], Awaitable[bytes]],
    ) -> None:
        self._access = access
        self._snapshot = snapshot
        self._health = health
        self._limits = limits
        self._queues = queues
        self._config = config
        self._read = read

    async def providers(self, request: Request) -> Response:
        """`GET /admin/providers`."""
        self._access.check(request)
        snapshot = self._snapshot()
        limits = await self._limits.rows()
        rows = [self._provider(provider, snapshot, limits) for provider in snapshot.providers.values()]
        rows += [
            {"id": name, "status": "left_out", "reason": reason}
            for name, reason in snapshot.left_out.items()
            if name not in snapshot.providers
        ]
        return JSONResponse(page(request, rows))

    async def breakers(self, request: Request) -> Response:
        """`GET /admin/breakers`."""
        self._access.check(request)
        rows = [{"id": f"{row['provider']}/{row['model']}#{row['key']}", **row} for row in self._health.breakers()]
        return JSONResponse(page(request, rows))

    async def reset(self, request: Request) -> Response:
        """`POST /admin/breakers/reset`: close breakers and end the rests of keys."""
        self._access.check(request)
        body = _reset_body(await self._read(request))
        await self._limits.reset(body.provider, body.model, body.key)
        return JSONResponse({"reset": self._health.reset(body.provider, body.model, body.key)})

    async def limits(self, request: Request) -> Response:
        """`GET /admin/limits`: what is used of each limit of each key, and what providers have told."""
        self._access.check(request)
        rows = await self._limits.rows(self._snapshot().deployments.values())
        named = [{"id": f"{row['provider']}/{row['model']}#{row['key']}:{row['kind']}", **row} for row in rows]
        return JSONResponse(page(request, named))

    async def queues(self, request: Request) -> Response:
        """`GET /admin/queues`: who waits."""
        self._access.check(request)
        return JSONResponse(page(request, [{"id": row["caller"], **row} for row in self._queues()]))

    async def config(self, request: Request) -> Response:
        """`GET /admin/config`: the effective configuration, secrets shown as `***`."""
        self._access.check(request)
        return JSONResponse({"version": self._snapshot().version, "config": self._config()})

    def check(self, request: Request) -> None:
        """Raises `ProxyError` for whoever may not use the admin API."""
        self._access.check(request)

    def _provider(self, provider: Provider, snapshot: Snapshot, limits: list[dict[str, Any]]) -> dict[str, Any]:
        view, latencies = self._health.view(snapshot), self._health.latencies()
        rests = [rest for rest in self._health.rests() if rest["provider"] == provider.name]
        models = []
        for name, deployment in snapshot.deployments.items():
            if deployment.provider.name == provider.name:
                state = view.get(name)
                seconds = latencies.get(name)
                models.append(
                    {
                        "id": name,
                        "available": state is None or state.available,
                        "reason": state.reason if state else "",
                        "latency_ms": round(seconds * 1000, 1) if seconds is not None else None,
                    }
                )
        return {
            "id": provider.name,
            "status": "stand_in" if provider.stand_in else "ok",
            "reason": snapshot.left_out.get(provider.name, ""),
            "health": asdict(self._diagnosis(provider, snapshot, limits)),
            "dialect": provider.dialect,
            "base_url": provider.base_url,
            "keys": [
                {"id": key.id, "weight": key.weight, "rests": [_rest(rest) for rest in rests if rest["key"] == key.id]}
                for key in provider.keys
            ],
            "rests": [_rest(rest) for rest in rests if rest["key"] == KEYLESS],
            "models": models,
        }

    def _diagnosis(self, provider: Provider, snapshot: Snapshot, limits: list[dict[str, Any]]) -> Diagnosis:
        models = [each.model for each in snapshot.deployments.values() if each.provider.name == provider.name]
        return diagnose(
            provider.name,
            models,
            [key.id for key in provider.keys],
            breakers=self._health.breakers(),
            rests=self._health.rests(),
            limits=limits,
        )


def _rest(rest: dict[str, Any]) -> dict[str, Any]:
    return {name: rest[name] for name in ("model", "reason", "seconds_left")}


def _reset_body(raw: bytes) -> ResetBody:
    try:
        return ResetBody.model_validate(json.loads(raw) if raw.strip() else {})
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        problem = "there is no such field" if first["type"] == "extra_forbidden" else first["msg"].lower()
        message = f"`{where[:80]}`: {problem}; the fields are `provider`, `model`, `key`, each a string."
        raise InvalidRequest(message, param=where[:80]) from exc
    except (ValueError, RecursionError) as exc:
        raise InvalidRequest("The body is not valid JSON.") from exc
