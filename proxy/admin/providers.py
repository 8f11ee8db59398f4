"""`GET /admin/providers`: the state of each provider, its keys and its models, without secrets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.admin.endpoint import Answer, Context, reads
from proxy.admin.pages import page
from proxy.core.model import KEYLESS, Deployment, Provider
from proxy.core.plan import HealthView
from proxy.upstream.diagnosis import diagnose


@dataclass(frozen=True, slots=True)
class State:
    """The state of all providers at one moment."""

    view: HealthView
    latencies: Mapping[str, float]  # seconds to the first content, by deployment
    breakers: Sequence[dict[str, Any]]
    cooldowns: Sequence[dict[str, Any]]
    limits: Sequence[dict[str, Any]]


class Providers:
    """The endpoint."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.routes = [reads("/providers", self.list)]
        self.answers: dict[str, Answer] = {}

    async def list(self, request: Request) -> Response:
        """`GET /admin/providers`: one row per provider, also for those that are left out."""
        snapshot, health = self._context.live.snapshot, self._context.health
        state = State(
            health.view(snapshot),
            health.latencies(),
            health.breaker_rows(),
            health.cooldown_rows(),
            await self._context.limits.rows(),
        )
        models: dict[str, list[Deployment]] = {}
        for deployment in snapshot.deployments.values():
            models.setdefault(deployment.provider.name, []).append(deployment)
        rows = [_provider(provider, models.get(provider.name, []), state) for provider in snapshot.providers.values()]
        rows += [
            {"id": name, "status": "left_out", "reason": reason}
            for name, reason in snapshot.left_out.items()
            if name not in snapshot.providers
        ]
        return JSONResponse(page(request, rows))


def _provider(provider: Provider, models: Sequence[Deployment], state: State) -> dict[str, Any]:
    cooldowns = [row for row in state.cooldowns if row["provider"] == provider.name]
    keys = [key.id for key in provider.keys]
    diagnosis = diagnose(
        provider.name,
        [deployment.model for deployment in models],
        keys,
        breakers=state.breakers,
        cooldowns=cooldowns,
        limits=state.limits,
    )
    return {
        "id": provider.name,
        "status": "stand_in" if provider.stand_in else "ok",
        "reason": provider.stand_in_reason,
        "health": asdict(diagnosis),
        "dialect": provider.dialect,
        "base_url": provider.base_url,
        "keys": [
            {"id": key.id, "weight": key.weight, "rests": _cooldowns_of(cooldowns, key.id)} for key in provider.keys
        ],
        "rests": _cooldowns_of(cooldowns, KEYLESS),
        "models": [_model(deployment.name, state) for deployment in models],
    }


def _model(name: str, state: State) -> dict[str, Any]:
    health, seconds = state.view.get(name), state.latencies.get(name)
    return {
        "id": name,
        "available": health is None or health.available,
        "reason": health.reason if health else "",
        "latency_ms": round(seconds * 1000, 1) if seconds is not None else None,
    }


def _cooldowns_of(cooldowns: Sequence[dict[str, Any]], key_id: str) -> list[dict[str, Any]]:
    """Return the cooldowns of one key."""
    shown = ("model", "reason", "seconds_left")
    return [{name: row[name] for name in shown} for row in cooldowns if row["key"] == key_id]
