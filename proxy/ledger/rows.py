"""The ledger rows of a call, made from its record. They contain names, numbers and the decision record, no content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import structs

from proxy.core.decisions import kept
from proxy.core.json_text import compact
from proxy.core.ledger import AttemptRow, CallRow, CostStatus
from proxy.core.principal import Principal
from proxy.core.record import AttemptOutcome, AttemptRecord, Record
from proxy.core.usage import Usage

LONGEST = 256  # characters of a name that a client can choose
_Beginning = tuple[str, str, int, str, str | None, str | None, str | None, str | None, str | None, str | None]
_BY_NAME = ("direct", "alias", "bare")  # rules of routes for which the client itself has named the target
_NO_USAGE = Usage()
_NO_ATTEMPTS = AttemptRow(id="", call_id="", number=0, time=0, provider="", model="", provider_key=None, outcome="")
_UNKNOWN_YET = None, None, None, None, None, 0, 0, 0, None, 0, 0, 0  # from `status` to `image_tokens`, before the end
_UNBILLED: tuple[int | None, CostStatus, str | None] = None, "unknown", None


def intent_row(record: Record, attempt: AttemptRecord, principal: Principal) -> AttemptRow:
    """Return the row of an attempt that is about to be sent."""
    deployment, plan = attempt.deployment, record.plan
    return AttemptRow(
        attempt.id,
        record.id,
        attempt.number,
        attempt.time,
        deployment.labels[0],
        _text(deployment.model),
        attempt.key_id,
        AttemptOutcome.STARTED,
        *_UNKNOWN_YET,
        *_UNBILLED,
        attempt.own_key,
        principal.key_id,
        principal.user,
        principal.team,
        None if plan is None else _text(plan.route),
    )


def attempt_rows(record: Record, principal: Principal, now: float) -> list[AttemptRow]:
    """Return the rows of all attempts, as they are at `now` (monotonic seconds)."""
    rows, plan = [], record.plan
    for attempt in record.attempts:
        deployment, started, first, cause = attempt.deployment, attempt.started, attempt.first_token, attempt.cause
        usage = attempt.usage
        counts = usage or _NO_USAGE
        media = counts.media
        rows.append(
            AttemptRow(
                attempt.id,
                record.id,
                attempt.number,
                attempt.time,
                deployment.labels[0],
                _text(deployment.model),
                attempt.key_id,
                attempt.outcome,
                attempt.status,
                None if cause is None else _text(cause),
                _ms((now if attempt.ended is None else attempt.ended) - started),
                None if first is None else _ms(first - started),
                None if usage is None else usage.input,
                counts.cached,
                counts.cache_write,
                counts.cache_write_1h,
                None if usage is None else usage.output,
                counts.reasoning,
                0 if media is None else media.audio,
                0 if media is None else media.image,
                *attempt.bill,
                attempt.own_key,
                principal.key_id,
                principal.user,
                principal.team,
                None if plan is None else _text(plan.route),
            )
        )
    return rows


def started_row(record: Record, principal: Principal) -> CallRow:
    """Return the row of a call before its first attempt, with what is known then."""
    call = record.call
    use, stream = (None, False) if call is None else (call.agent, call.stream)
    row = CallRow(*_beginning(record, principal), None, None, stream, record.status, record.outcome)
    return row if use is None else structs.replace(row, agent=use.agent.id, agent_version=use.agent.version)


def call_row(
    record: Record, attempts: Sequence[AttemptRow], principal: Principal, now: float, decision: bytes | None
) -> CallRow:
    """Return the row of a call, as it is at `now`, with the sums over the rows of its attempts."""
    call, plan, chosen, timings = record.call, record.plan, record.chosen, record.timings
    first, code = timings.first_token, record.code
    use, rating = None if call is None else call.agent, record.rating
    sums = attempts[0] if len(attempts) == 1 else _summed(attempts) if attempts else _NO_ATTEMPTS
    return CallRow(
        *_beginning(record, principal),
        None if chosen is None else chosen.labels[0],
        None if chosen is None else _text(chosen.model),
        False if call is None else call.stream,
        record.status,
        record.outcome,
        None if code is None else _text(code),
        len(record.attempts),
        sums.input_tokens,
        sums.cached_tokens,
        sums.output_tokens,
        sums.reasoning_tokens,
        sums.cost_nusd,
        record.cost_status if len(attempts) > 1 else sums.cost_status,
        _ms(now - timings.started),
        None if first is None else _ms(first - timings.started),
        _ms(timings.queue_seconds) if timings.queue_seconds else 0.0,
        "bypass",
        decision,
        None if use is None else use.agent.id,
        None if use is None else use.agent.version,
        None if plan is None or decision is None else plan.features(),
        None if rating is None else rating.score,
        None if rating is None else ", ".join(rating.reasons),
    )


def _beginning(record: Record, principal: Principal) -> _Beginning:
    """Return the fields from `id` to `route` of the row of a call, which are known when it begins."""
    call, plan = record.call, record.plan
    client_id = None if call is None else call.options.client_id
    return (
        record.id,
        record.request_id,
        record.time,
        "" if call is None else call.endpoint,
        principal.key_id,
        principal.user,
        principal.team,
        None if client_id is None else _text(client_id),
        None if call is None else _text(call.model),
        None if plan is None else _text(plan.route),
    )


def decision_of(record: Record) -> bytes | None:
    """Return the decision record as the ledger keeps it; `None` if nothing was decided.

    That of a call to one model, named by the client, has only what is equal for all such calls, so that it is made
    once: what was weighed is the one model.
    """
    plan = record.plan
    if plan is None:
        return None if record.rejection is None else _json(record.rejection())
    if plan.rule in _BY_NAME and len(plan.targets) == 1 and record.call is not None:
        only, version = plan.targets[0].deployment, record.call.snapshot.version
        return _direct(plan.route, plan.rule, plan.reason, only.provider.name, only.model, version)
    return _json(plan.decision)


@lru_cache(1024)
def _direct(route: str, rule: str, reason: str, provider: str, model: str, version: str) -> bytes:
    candidate = {"provider": provider, "model": model, "status": "chosen", "reason": reason}
    return compact(
        {
            "route": route,
            "rule": rule,
            "reason": reason,
            "candidates": [candidate],
            "chosen": f"{provider}/{model}",
            "config_version": version,
        }
    )


def _json(decision: Mapping[str, Any]) -> bytes:
    try:
        return kept(msgspec.json.encode(decision))
    except (UnicodeEncodeError, TypeError):  # a name of the client that is not valid Unicode
        return kept(compact(dict(decision)))


def _summed(rows: Sequence[AttemptRow]) -> AttemptRow:
    """Return a row whose tokens and cost are the sums of those of `rows`."""
    costs = [row.cost_nusd for row in rows if row.cost_nusd is not None]
    counted = [row for row in rows if row.input_tokens is not None]
    return structs.replace(
        _NO_ATTEMPTS,
        input_tokens=sum(row.input_tokens or 0 for row in counted) if counted else None,
        cached_tokens=sum(row.cached_tokens for row in counted),
        output_tokens=sum(row.output_tokens or 0 for row in counted) if counted else None,
        reasoning_tokens=sum(row.reasoning_tokens for row in counted),
        cost_nusd=sum(costs) if costs else None,
    )


def _ms(seconds: float) -> float:
    return int(seconds * 1e6) / 1000


@lru_cache(4096)
def _text(text: str) -> str:
    """Return a name that every database can store: no NUL, no lone surrogate, at most `LONGEST` characters."""
    if len(text) <= LONGEST and text.isascii() and "\0" not in text:
        return text
    return text[:LONGEST].replace("\0", "�").encode("utf-8", "replace").decode()
