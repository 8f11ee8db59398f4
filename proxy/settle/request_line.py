"""The line of a call in the request log, as JSON or CSV. `docs/metrics.md` documents the fields: names and numbers.

Messages of errors are our own words, because those of providers may quote the prompt.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct, structs

from proxy.core.model import RESERVED
from proxy.core.money import usd
from proxy.core.record import AttemptOutcome, AttemptRecord, Outcome, Record

LONGEST = 256  # characters of a name
_LONGEST_FINISH = 40
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet would compute


class RequestLine(Struct, frozen=True, gc=False):
    """The fields of a call, in the order of the columns. It keeps neither request nor answer in memory."""

    time: float  # seconds since 1970
    id: str
    request_id: str
    client_id: str | None
    key_id: str | None
    user: str | None
    team: str | None
    endpoint: str | None
    method: str | None
    route: str | None
    tier: str | None
    scenario: str | None
    requested_provider: str | None
    requested_model: str | None
    provider: str | None
    model: str | None
    stream: bool
    status: int
    success: bool
    outcome: str
    max_wait_ms: float | None
    queue_ms: float
    limit_wait_ms: float
    total_ms: float
    ttft_ms: float | None
    input_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    cost_usd: float | None
    cost_status: str
    finish_reason: str | None
    decision_reason: str | None
    error_type: str | None
    error_code: str | None
    error_message: str | None
    fallback_attempts: int
    alternatives: tuple[str, ...]
    cache: str
    rating: float | None
    rating_reasons: tuple[str, ...]

    def as_json(self) -> bytes:
        """Return one line of JSON in ASCII."""
        fields = {"time": _iso(self.time), **{name: getattr(self, name) for name in COLUMNS[1:]}}
        return json.dumps(fields).encode() + b"\n"

    def cells(self) -> list[Any]:
        """Return the values of a row of CSV."""
        return [_iso(self.time), *[_cell(value) for value in structs.astuple(self)[1:]]]


COLUMNS = RequestLine.__struct_fields__


def request_line(record: Record, time: float, seconds: float) -> RequestLine:
    """Return the line of a call that ended at `time` (since 1970), after `seconds`."""
    call, plan, chosen, timings, usage = record.call, record.plan, record.chosen, record.timings, record.usage
    principal, cost, options = record.principal, record.cost_nusd, record.call and record.call.options
    requested = call.model[:LONGEST] if call else None
    kind, _, name = plan.route.partition("/") if plan else ("", "", "")
    provider, _, model = (requested or "").partition("/")
    named = bool(model) and provider not in RESERVED
    success = record.outcome is Outcome.OK
    wait = None
    if call and options:
        wait = options.max_wait_seconds if options.max_wait_seconds is not None else call.snapshot.queue.max_wait
    return RequestLine(
        time=time,
        id=record.id,
        request_id=record.request_id,
        client_id=options.client_id[:LONGEST] if options and options.client_id else None,
        key_id=principal.key_id if principal else None,
        user=principal.user if principal else None,
        team=principal.team if principal else None,
        endpoint=call.endpoint if call else None,
        method=plan.rule if plan else None,
        route=plan.route[:LONGEST] if plan else None,
        tier=name if kind == "tier" else chosen.tier if chosen else None,
        scenario=name if kind == "scenario" else None,
        requested_provider=provider if named else None,
        requested_model=model if named else requested,
        provider=chosen.labels[0] if chosen else None,
        model=chosen.model[:LONGEST] if chosen else None,
        stream=call.stream if call else False,
        status=record.status,
        success=success,
        outcome=record.outcome,
        max_wait_ms=None if wait is None else _ms(wait),
        queue_ms=_ms(timings.queue_seconds),
        limit_wait_ms=_ms(timings.predicted_queue_seconds),
        total_ms=_ms(seconds),
        ttft_ms=None if timings.first_token is None else _ms(timings.first_token - timings.started),
        input_tokens=usage.input if usage else None,
        cached_tokens=usage.cached if usage else None,
        output_tokens=usage.output if usage else None,
        reasoning_tokens=usage.reasoning if usage else None,
        cost_usd=None if cost is None else usd(cost),
        cost_status=record.cost_status,
        finish_reason=_finish(record.finish_reason),
        decision_reason=plan.reason if plan else None,
        error_type=None if success else error_type(record),
        error_code=None if success else record.code,
        error_message=None if success else _message(record),
        fallback_attempts=max(0, len(record.attempts) - 1),
        alternatives=_alternatives(record),
        cache="bypass",
        rating=record.rating.score if record.rating else None,
        rating_reasons=tuple(record.rating.reasons) if record.rating else (),
    )


def csv_lines(rows: Iterable[list[Any]]) -> bytes:
    """Return rows of CSV (RFC 4180)."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def error_type(record: Record) -> str:
    """Return the `type` of the error that the client received, or how the call ended without one."""
    status, code = record.status, record.code
    if record.outcome in (Outcome.CLIENT_CLOSED, Outcome.PARTIAL, Outcome.DRAINING):
        return record.outcome
    if code == "insufficient_quota":
        return code
    types = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    return types.get(status, "server_error" if status >= 500 else "invalid_request_error")


def _message(record: Record) -> str | None:
    """Return what failed last, in our own words."""
    attempt = next((each for each in reversed(record.attempts) if each.outcome != AttemptOutcome.OK), None)
    if attempt is None:
        return record.code
    return attempt.error or _failure(attempt)


def _failure(attempt: AttemptRecord) -> str:
    status = f" (status {attempt.status})" if attempt.status else ""
    return f"{attempt.deployment.labels[0]}: {attempt.outcome}{status}"


def _alternatives(record: Record) -> tuple[str, ...]:
    """Return the other targets that were attempted, in order."""
    chosen = record.chosen.name if record.chosen else None
    names = dict.fromkeys(attempt.deployment.name[:LONGEST] for attempt in record.attempts)
    return tuple(name for name in names if name != chosen)


def _finish(reason: str | None) -> str | None:
    """Return a provider's finish reason if it is a word, because it could be any text."""
    if reason is None:
        return None
    return reason if len(reason) <= _LONGEST_FINISH and reason.isascii() and reason.isidentifier() else "other"


def _cell(value: Any) -> Any:
    """Return a value as a cell: one line, and no formula."""
    if isinstance(value, tuple):
        value = "; ".join(value)
    if not isinstance(value, str):
        return value
    if not value.isprintable():
        value = "".join([char if char.isprintable() else "?" for char in value])
    return f"'{value}" if value.startswith(_FORMULA) else value


def _iso(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds")


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
