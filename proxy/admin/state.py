"""The read endpoints of the admin API and the breaker reset: state without secrets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.admin.access import AdminAccess
from proxy.admin.bodies import read_body
from proxy.admin.pages import page
from proxy.capacity.limits import Limits
from proxy.core.failures import FailureKind
from proxy.core.model import KEYLESS, Deployment, Provider
from proxy.core.plan import HealthView
from proxy.core.snapshot import Snapshot
from proxy.upstream.diagnosis import diagnose
from proxy.upstream.health import Health

_RESET_FIELDS = "; the fields are `provider`, `model`, `key`, each a string"


class ResetBody(BaseModel):
    """A selection of breakers to close; an omitted field matches all."""

    model_config = ConfigDict(extra="forbid", strict=True)

    provider: str | None = None
    model: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """The state of all providers at one moment."""

    view: HealthView
    latencies: Mapping[str, float]  # seconds to the first content, by deployment
    breakers: Sequence[dict[str, Any]]
    rests: Sequence[dict[str, Any]]
    limits: Sequence[dict[str, Any]]


class State:
    """The endpoints; each checks the admin token first."""

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
        self.others: Callable[[str], Awaitable[list[str]]] | None = None  # lets other workers reset too

    async def providers(self, request: Request) -> Response:
        """`GET /admin/providers`."""
        self._access.check(request)
        snapshot = self._snapshot()
        seen = Seen(
            self._health.view(snapshot),
            self._health.latencies(),
            self._health.breaker_rows(),
            self._health.cooldown_rows(),
            await self._limits.rows(),
        )
        models: dict[str, list[Deployment]] = {}
        for deployment in snapshot.deployments.values():
            models.setdefault(deployment.provider.name, []).append(deployment)
        rows = [_provider(provider, models.get(provider.name, []), seen) for provider in snapshot.providers.values()]
        rows += [
            {"id": name, "status": "left_out", "reason": reason}
            for name, reason in snapshot.left_out.items()
            if name not in snapshot.providers
        ]
        return JSONResponse(page(request, rows))

    async def breakers(self, request: Request) -> Response:
        """`GET /admin/breakers`: those of the configured providers."""
        self._access.check(request)
        known = self._snapshot().providers
        found = [row for row in self._health.breaker_rows() if row["provider"] in known]
        rows = [{"id": f"{row['provider']}/{row['model']}#{row['key']}", **row} for row in found]
        return JSONResponse(page(request, rows))

    async def reset(self, request: Request) -> Response:
        """`POST /admin/breakers/reset`: close breakers and end cooldowns of keys."""
        self._access.check(request)
        raw = await self._read(request)
        count = self._reset(raw)
        if self.others is not None:
            count += sum(int(answer or 0) for answer in await self.others(raw.decode()))
        return JSONResponse({"reset": count})

    async def answer(self, body: str) -> str:
        """Do what another worker was asked for by `POST /admin/breakers/reset`; return the number."""
        return str(self._reset(body.encode()))

    def _reset(self, raw: bytes) -> int:
        body = read_body(ResetBody, raw if raw.strip() else b"{}", _RESET_FIELDS)
        self._limits.reset(body.provider, body.model, body.key)
        return self._health.reset(body.provider, body.model, body.key)

    async def limits(self, request: Request) -> Response:
        """`GET /admin/limits`: the use of each limit of each key, learned limits, and cooldowns."""
        self._access.check(request)
        rows = with_cooldowns(await self._limits.rows(unused=True), self._health.cooldown_rows())
        named = [{"id": f"{row['provider']}/{row['model']}#{row['key']}:{row['kind']}", **row} for row in rows]
        return JSONResponse(page(request, named))

    async def queues(self, request: Request) -> Response:
        """`GET /admin/queues`: the waiting calls per caller."""
        self._access.check(request)
        return JSONResponse(page(request, [{"id": row["caller"], **row} for row in self._queues()]))

    async def config(self, request: Request) -> Response:
        """`GET /admin/config`: the effective configuration, secrets shown as `***`."""
        self._access.check(request)
        return JSONResponse({"version": self._snapshot().version, "config": self._config()})

    def check(self, request: Request) -> None:
        """Raise `ProxyError` without access to the admin API."""
        self._access.check(request)


def with_cooldowns(limits: Sequence[dict[str, Any]], cooldowns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of limits and of cooldowns after a 429 (kind `rest`); the longer cooldown of a key counts."""
    rows = {(row["provider"], row["model"], row["key"], row["kind"]): row for row in limits}
    for cooldown in cooldowns:
        if cooldown["reason"] != FailureKind.RATE_LIMITED:
            continue
        provider, model, key, left = (cooldown[name] for name in ("provider", "model", "key", "seconds_left"))
        row = {"provider": provider, "model": model or "*", "key": key, "kind": "rest", "limit": 0, "used": 0}
        before = rows.get((provider, model or "*", key, "rest"), {**row, "learned": False, "rest_seconds_left": 0.0})
        longest = max(left, before["rest_seconds_left"])
        rows[provider, model or "*", key, "rest"] = {**before, "rest_seconds_left": longest}
    return list(rows.values())


def _provider(provider: Provider, models: Sequence[Deployment], seen: Seen) -> dict[str, Any]:
    rests = [rest for rest in seen.rests if rest["provider"] == provider.name]
    keys = [key.id for key in provider.keys]
    diagnosis = diagnose(
        provider.name,
        [each.model for each in models],
        keys,
        breakers=seen.breakers,
        rests=rests,
        limits=seen.limits,
    )
    return {
        "id": provider.name,
        "status": "stand_in" if provider.stand_in else "ok",
        "reason": provider.stand_in_reason,
        "health": asdict(diagnosis),
        "dialect": provider.dialect,
        "base_url": provider.base_url,
        "keys": [
            {"id": key.id, "weight": key.weight, "rests": [_rest(rest) for rest in rests if rest["key"] == key.id]}
            for key in provider.keys
        ],
        "rests": [_rest(rest) for rest in rests if rest["key"] == KEYLESS],
        "models": [_model(each.name, seen) for each in models],
    }


def _model(name: str, seen: Seen) -> dict[str, Any]:
    state, seconds = seen.view.get(name), seen.latencies.get(name)
    return {
        "id": name,
        "available": state is None or state.available,
        "reason": state.reason if state else "",
        "latency_ms": round(seconds * 1000, 1) if seconds is not None else None,
    }


def _rest(rest: dict[str, Any]) -> dict[str, Any]:
    return {name: rest[name] for name in ("model", "reason", "seconds_left")}
