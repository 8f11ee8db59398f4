"""Reads the recorded calls of a store, their callers and the spending before them, and replays them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from msgspec import convert

from proxy.admission.principals import principal_of
from proxy.capacity.budget_rules import counter_of
from proxy.capacity.budget_store import BudgetCounter
from proxy.commands.shell import Shell
from proxy.config.settings.units import positive_seconds
from proxy.core.accounts import Account, Team, User, VirtualKey
from proxy.core.budgets import window_at
from proxy.core.call import COUNTING
from proxy.core.ledger import CallRow
from proxy.core.principal import UNKNOWN_CALLER, Identified, Principal
from proxy.core.snapshot import Snapshot
from proxy.core.timestamps import seconds_of
from proxy.learning.control import Control
from proxy.replay.learned import Predictors, Version
from proxy.replay.recorded import recorded
from proxy.replay.replay import Replay
from proxy.replay.report import Report
from proxy.store.learning import LearningStore

_US = 1_000_000
_QUARTER = 900  # seconds; the sums of spending begin at multiples of it


async def report_of(
    shell: Shell, snapshot: Snapshot, since: str, until: str | None, models: Sequence[str], limit: int
) -> dict[str, Any]:
    """Return the report of a replay."""
    now = shell.clock.time()
    end = _time("--until", until) if until is not None else now
    start = _since(since, end)
    if start >= end:
        raise click.BadParameter("must be before --until", param_hint="--since")
    callers = Callers(shell)
    replay: Replay | None = None
    report = Report()
    rows = shell.ledger.decided(int(start * _US), int(end * _US), models=models, most=limit)
    async for row in rows:
        if row.endpoint == COUNTING:
            continue  # it asks for no answer, and costs nothing
        if replay is None:
            spent = await _spent(shell, snapshot, row.time / _US)
            predictors = await _predictors(shell, snapshot)
            replay = Replay(snapshot, predictor_of=predictors.of, spent=spent)
        report.add(replay.replay(recorded(row), await callers.of(row)))
    return report.as_json()


class Callers:
    """The callers of recorded calls, with the models and budgets that they have now."""

    def __init__(self, shell: Shell) -> None:
        self._accounts = shell.accounts
        self._known: dict[tuple[str | None, str | None, str | None], Principal] = {}

    async def of(self, row: CallRow) -> Principal:
        """Return the caller of a call; one that was deleted has no restrictions and no budget of its own."""
        ids = (row.key_id, row.user, row.team)
        if ids not in self._known:
            self._known[ids] = UNKNOWN_CALLER if ids == (None, None, None) else await self._read(*ids)
        return self._known[ids]

    async def _read(self, key_id: str | None, user_id: str | None, team_id: str | None) -> Identified:
        key = await self._accounts.get(VirtualKey, key_id) if key_id else None
        user = await self._accounts.get(User, user_id) if user_id else None
        team = await self._accounts.get(Team, team_id) if team_id else None
        found = principal_of(Account(key, user, team), name="replay", user=user_id, team=team_id)
        if key is None:
            found.key_id = key_id
        return found


async def _predictors(shell: Shell, snapshot: Snapshot) -> Predictors:
    """Return what the store has learned; nothing if the configuration does not learn."""
    if snapshot.learning is None:
        return Predictors((), ())
    store = LearningStore(shell.database)
    newest, values = await store.newest()
    control = convert(values, Control)
    kept = [
        Version(number, created_at, state)
        for number, created_at in await store.versions()
        if (state := await store.load(number)) is not None
    ]
    last = newest if control.version is None else control.version
    return Predictors(kept, [version.number for version in kept if control.after < version.number <= last])


async def _spent(shell: Shell, snapshot: Snapshot, start: float) -> dict[BudgetCounter, int]:
    """Return what was spent before `start` in the windows of the configured budgets that contain it."""
    spent: dict[BudgetCounter, int] = {}
    configured = {} if snapshot.budgets is None else snapshot.budgets.rules
    for rule in (rule for rules in configured.values() for rule in rules):
        window = window_at(rule.period, rule.timezone, start)
        until = int(start) - int(start) % _QUARTER
        nusd = 0
        if until > window.start:
            nusd = await shell.ledger.spent(rule.scope, rule.id, window.start * _US, until * _US)
        spent[counter_of(rule, window)] = nusd
    return spent


def _since(text: str, end: float) -> float:
    try:
        return end - positive_seconds(text)
    except ValueError:
        return _time("--since", text, " or a duration, such as 7d")


def _time(option: str, text: str, otherwise: str = "") -> float:
    try:
        return seconds_of(text)
    except ValueError as exc:
        raise click.BadParameter(f"{exc}{otherwise}", param_hint=option) from exc
