"""What calls and attempts add to the sums of usage and spend. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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


class Sums:
    """Changes of the sums: `hours` and `days` by slot and dimensions, `spend` by spender and slot."""

    def __init__(self) -> None:
        self.hours: dict[tuple[int, Dimensions], Measures] = {}
        self.days: dict[tuple[int, Dimensions], Measures] = {}
        self.spend: dict[tuple[Spender, int], int] = {}

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
        self._add(call.time, dimensions, (sign, sign * is_error(call)))

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
        self._add(
            attempt.time,
            dimensions,
            (
                0,
                0,
                sign,
                sign * (attempt.input_tokens or 0),
                sign * attempt.cached_tokens,
                sign * attempt.cache_write_tokens,
                sign * (attempt.output_tokens or 0),
                sign * attempt.reasoning_tokens,
                sign * attempt.audio_tokens,
                0 if attempt.own_key else cost,
                cost if attempt.own_key else 0,
            ),
        )
        if cost and not attempt.own_key:
            slot = attempt.time - attempt.time % QUARTER
            for spender in _spenders(attempt):
                self.spend[spender, slot] = self.spend.get((spender, slot), 0) + cost

    def _add(self, time: int, dimensions: Dimensions, values: tuple[int, ...]) -> None:
        for sums, length in ((self.hours, HOUR), (self.days, DAY)):
            slot = time - time % length
            measures = sums.get((slot, dimensions))
            if measures is None:
                measures = sums[slot, dimensions] = [0] * _COUNT
            for index, value in enumerate(values):
                measures[index] += value


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


def _spenders(attempt: AttemptRow) -> Iterator[Spender]:
    yield ("total", TOTAL)
    yield ("provider", attempt.provider)
    for scope, id in (("team", attempt.team), ("user", attempt.user), ("key", attempt.key_id)):
        if id:
            yield (scope, id)
