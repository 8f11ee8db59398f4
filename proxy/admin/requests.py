"""`GET /admin/requests` and `GET /admin/requests/{id}`: records of calls, without content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.admin.endpoint import Answer, Context, reads
from proxy.admin.objects import shown_id
from proxy.admin.pages import bounds, invalid_after
from proxy.admin.storage import stored
from proxy.admin.values import visible
from proxy.core.decisions import read_decision
from proxy.core.errors import InvalidRequest, NotFound
from proxy.core.ledger import AttemptRow, CallRow
from proxy.core.money import usd
from proxy.core.timestamps import iso
from proxy.store.errors import Missing
from proxy.surfaces.reports import MICROSECONDS, filters_of, grouped, time_range

_TEXTS = ("key", "user", "team", "model", "provider", "route", "outcome", "client_id", "agent")
_TIMES = ("start", "end")


class Requests:
    """The endpoints."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.routes = [reads("/requests", self.list), reads("/requests/{id:path}", self.show)]
        self.answers: dict[str, Answer] = {}

    async def list(self, request: Request) -> Response:
        """`GET /admin/requests`: the newest first."""
        storage = stored(self._context.storage)
        limit, after = bounds(request)
        values = grouped(request.query_params.multi_items(), (*_TEXTS, "status", *_TIMES, "limit", "after"))
        if after is not None and not visible(after):
            raise invalid_after()
        try:
            rows = await storage.ledger.requests(_filters(values, storage.now()), after, limit + 1)
        except Missing:
            raise invalid_after() from None
        data = [call_record(row) for row in rows[:limit]]
        last = data[-1]["id"] if data else None
        return JSONResponse({"object": "list", "data": data, "has_more": len(rows) > limit, "last_id": last})

    async def show(self, request: Request) -> Response:
        """`GET /admin/requests/{id}`: one record with its decision record and its attempts."""
        ledger, id = stored(self._context.storage).ledger, request.path_params["id"]
        found = await ledger.request(id) if visible(id) else None
        if found is None:
            raise NotFound(f"There is no request `{shown_id(id)}`; the records of old requests are deleted.")
        return JSONResponse(whole_record(*found, await self._context.learning.judgements(id)))


def whole_record(
    call: CallRow, attempts: Sequence[AttemptRow], judgements: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the record of a call with its attempts, its decision record and what was given to its answers."""
    decision = None if call.decision is None else read_decision(call.decision)
    return {
        **call_record(call),
        "attempts": [attempt_record(row) for row in attempts],
        "decision": decision,
        "judgements": [judgement_record(row) for row in judgements],
    }


def judgement_record(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was given to an answer of a call, by a client, the judge, or its rating."""
    shown = {name: row[name] for name in ("source", "model", "score", "comment")}
    return {**shown, "time": iso(row["time"] / MICROSECONDS)}


def call_record(row: CallRow) -> dict[str, Any]:
    """Return the record of a call as an answer has it; `attempts` is their number."""
    return {
        "id": row.id,
        "request_id": row.request_id,
        "time": iso(row.time / MICROSECONDS),
        "endpoint": row.endpoint,
        "key_id": row.key_id,
        "user": row.user,
        "team": row.team,
        "client_id": row.client_id,
        "model": row.model,
        "agent": row.agent,
        "agent_version": row.agent_version,
        "route": row.route,
        "provider": row.provider,
        "upstream_model": row.upstream_model,
        "stream": row.stream,
        "status": row.status,
        "outcome": row.outcome,
        "code": row.code,
        "attempts": row.attempts,
        "input_tokens": row.input_tokens,
        "cached_tokens": row.cached_tokens,
        "output_tokens": row.output_tokens,
        "reasoning_tokens": row.reasoning_tokens,
        "cost_usd": None if row.cost_nusd is None else usd(row.cost_nusd),
        "cost_status": row.cost_status,
        "ms": round(row.ms, 3),
        "ttft_ms": None if row.ttft_ms is None else round(row.ttft_ms, 3),
        "queue_ms": round(row.queue_ms, 3),
        "cache": row.cache,
        "rating": row.rating,
        "rating_reasons": row.rating_reasons.split(", ") if row.rating_reasons else [],
    }


def attempt_record(row: AttemptRow) -> dict[str, Any]:
    """Return the record of an attempt as an answer has it."""
    return {
        "id": row.id,
        "number": row.number,
        "time": iso(row.time / MICROSECONDS),
        "provider": row.provider,
        "model": row.model,
        "provider_key": row.provider_key,
        "own_key": row.own_key,
        "outcome": row.outcome,
        "status": row.status,
        "cause": row.cause,
        "ms": row.ms,
        "ttft_ms": row.ttft_ms,
        "input_tokens": row.input_tokens,
        "cached_tokens": row.cached_tokens,
        "cache_write_tokens": row.cache_write_tokens,
        "output_tokens": row.output_tokens,
        "reasoning_tokens": row.reasoning_tokens,
        "cost_usd": None if row.cost_nusd is None else usd(row.cost_nusd),
        "cost_status": row.cost_status,
        "price_version": row.price_version,
    }


def _filters(values: Mapping[str, list[str]], now: float) -> dict[str, Any]:
    filters: dict[str, Any] = dict(filters_of(values, _TEXTS))
    if "status" in values:
        filters["status"] = [_status(text) for text in values["status"]]
    start, end = time_range(values, now)
    times = {"start": start, "end": end}
    return filters | {name: times[name] for name in _TIMES if name in values}


def _status(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) != 3:
        raise InvalidRequest("`status`: must be an HTTP status such as 200.", param="status")
    return int(text)
