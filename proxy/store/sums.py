"""What calls and attempts add to the sums of usage and spend. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from operator import add

from proxy.core.ledger import AttemptRow, CallRow

QUARTER = 15 * 60 * 1_000_000  # microseconds; the offset of every time zone is a multiple of it
HOUR = 4 * QUARTER
DAY = 24 * HOUR
STARTED = "started"
UNKNOWN = "unknown"  # of an intent that was found after a crash
TOTAL = ""  # the id of the scope `total`

Dimensions = tuple[str, str, str, str, str, str]
Measures = list[int]
Spender = tuple[str, str]  # scope, id

# positions in Measures, in the order of `proxy.store.schema.MEASURES`
_COUNT = 11
_REQUESTS, _ERRORS, _ATTEMPTS, _INPUT, _CACHED, _CACHE_WRITE, _OUTPUT, _REASONING, _AUDIO, _COST, _OWN_KEY_COST = range(
    _COUNT
)
_SCOPES = ("total", "provider", "team", "user", "key")


class Sums:
    """Changes of the sums of usage by hour and dimensions, and of spend by spenders and quarter hour."""

    def __init__(self) -> None:
        self.hours: dict[tuple[int, Dimensions], Measures] = {}
        self._spend: dict[tuple[int, str, str | None, str | None, str | None], int] = {}

    def add_call(self, call: CallRow, sign: int = 1) -> None:
        """Add a call, or take it away with the sign -1: it counts as a request, and as an error if it failed."""
        dimensions = (
            call.key_id or "",
            call.user or "",
            call.team or "",
            call.provider or "",
            call.upstream_model or "",
            call.route or "",
        )
        measures = self._measures(call.time, dimensions)
        measures[_REQUESTS] += sign
        if is_error(call):
            measures[_ERRORS] += sign

    def add_attempt(self, attempt: AttemptRow, sign: int = 1) -> None:
        """Add what an attempt used and cost, or take it away with the sign -1."""
        if attempt.outcome == STARTED:
            return
        cost = sign * (attempt.cost_nusd or 0)
        dimensions = (
            attempt.key_id or "",
            attempt.user or "",
            attempt.team or "",
            attempt.provider,
            attempt.model,
            attempt.route or "",
        )
        measures = self._measures(attempt.time, dimensions)
        measures[_ATTEMPTS] += sign
        measures[_INPUT] += sign * (attempt.input_tokens or 0)
        measures[_CACHED] += sign * attempt.cached_tokens
        measures[_CACHE_WRITE] += sign * attempt.cache_write_tokens
        measures[_OUTPUT] += sign * (attempt.output_tokens or 0)
        measures[_REASONING] += sign * attempt.reasoning_tokens
        measures[_AUDIO] += sign * attempt.audio_tokens
        measures[_OWN_KEY_COST if attempt.own_key else _COST] += cost
        if cost and not attempt.own_key:
            slot = attempt.time - attempt.time % QUARTER
            spenders = (slot, attempt.provider, attempt.team, attempt.user, attempt.key_id)
            self._spend[spenders] = self._spend.get(spenders, 0) + cost

    def days(self) -> dict[tuple[int, Dimensions], Measures]:
        """Return the changes of the sums of usage by day."""
        days: dict[tuple[int, Dimensions], Measures] = {}
        for (hour, dimensions), measures in self.hours.items():
            slot = (hour - hour % DAY, dimensions)
            days[slot] = list(map(add, days[slot], measures)) if slot in days else measures
        return days

    def spend(self) -> dict[tuple[Spender, int], int]:
        """Return the changes of the sums of spend, by spender and quarter hour."""
        spend: dict[tuple[Spender, int], int] = {}
        for (slot, *spenders), nusd in self._spend.items():
            for scope, id in zip(_SCOPES, (TOTAL, *spenders), strict=True):
                if id is not None:
                    key = ((scope, id), slot)
                    spend[key] = spend.get(key, 0) + nusd
        return spend

    def _measures(self, time: int, dimensions: Dimensions) -> Measures:
        """Return the measures to which a call or an attempt is added."""
        slot = (time - time % HOUR, dimensions)
        measures = self.hours.get(slot)
        if measures is None:
            measures = self.hours[slot] = [0] * _COUNT
        return measures


def is_error(call: CallRow) -> bool:
    """Return whether the call failed, for the client or by breaking off."""
    return call.status >= 400 or call.outcome in ("error", "partial")


def unique_attempts(attempts: Iterable[AttemptRow]) -> dict[str, AttemptRow]:
    """Return the last row of each attempt; an outcome wins over an intent."""
    rows: dict[str, AttemptRow] = {}
    for attempt in attempts:
        if supersedes(attempt, rows.get(attempt.id)):
            rows[attempt.id] = attempt
    return rows


def supersedes(attempt: AttemptRow, before: AttemptRow | None) -> bool:
    """Return whether a row replaces an earlier one: known outcomes replace all, `unknown` replaces intents only."""
    if before is None or before.outcome == STARTED:
        return True
    return attempt.outcome not in (STARTED, UNKNOWN)
