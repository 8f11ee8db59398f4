"""The components of the service that depend on settings, for `proxy/app.py`: each function builds one of them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from proxy.admin.storage import AgentParts, Storage
from proxy.admission.callers import IdentifyCallers
from proxy.admission.gate import Gate
from proxy.admission.jwks import Fetch
from proxy.admission.keys import IssuedKey, Peppers
from proxy.admission.watermark import Watermark, memory_families
from proxy.agents import StoredAgents
from proxy.background.service import BackgroundCalls
from proxy.capacity.state import State, build_state
from proxy.config.errors import ConfigError, Problem
from proxy.core.clock import Clock
from proxy.core.location import locate
from proxy.core.process import ProcessPolicy
from proxy.ledger.assembly import BuiltLedger, build_ledger
from proxy.observe.live import key_look_ups
from proxy.observe.live import state as state_family
from proxy.observe.live import store as store_family
from proxy.observe.metrics import Metrics
from proxy.observe.process import process_families
from proxy.overrides import ModelOverrides
from proxy.reload import Configuration
from proxy.store.accounts import Accounts
from proxy.store.agents import AgentStore
from proxy.store.assembly import Store, build_store
from proxy.store.audit_log import AuditLog
from proxy.store.background import BackgroundStore
from proxy.store.database import Database
from proxy.store.envelope import Envelope
from proxy.store.errors import StoreUnavailable
from proxy.store.ledger import LedgerStore
from proxy.store.provider_keys import ProviderKeys
from proxy.store.responses import ResponseStore
from proxy.upstream.assembly import Upstream
from proxy.upstream.network import Network


def store_of(live: Configuration, gate: Gate, clock: Clock, rng: random.Random) -> Store | None:
    """Return the store; `None` with `store: none`."""
    process = live.loaded.process
    location = locate(process.store, process.data_dir)
    if location is None:
        return None
    return build_store(
        location,
        retention=lambda: live.snapshot.keep_records,
        dialog_retention=lambda: live.snapshot.keep_dialogs,
        required=process.store_required,
        eager=live.snapshot.auth.mode != "none",
        on_change=lambda degraded: gate.without_store(on=degraded),
        clock=clock,
        rng=rng,
    )


def background_of(database: Database | None, clock: Clock) -> BackgroundCalls | None:
    """Return what runs responses in the background; `None` without a store."""
    return BackgroundCalls(BackgroundStore(database, clock), ResponseStore(database), clock) if database else None


def ledger_of(records: LedgerStore, process: ProcessPolicy, clock: Clock) -> BuiltLedger:
    """Return the ledger, which writes to `records`."""
    folder, closed = Path(process.data_dir), process.store_required
    return build_ledger(folder, records, clock, unavailable=StoreUnavailable, closed=closed)


def network_of(environ: Mapping[str, str]) -> Network:
    """Return the real network. Raises `ConfigError` if an environment variable is invalid."""
    try:
        return Network(environ)
    except ValueError as exc:
        raise ConfigError([Problem("environment", None, "", str(exc))]) from None


def state_of(process: ProcessPolicy, clock: Clock) -> State:
    """Return the state of limits. Raises `ConfigError` if its URL is not valid."""
    try:
        return build_state(process.state, clock, fail_open=not process.state_required)
    except ValueError as exc:
        raise ConfigError([Problem("configuration", None, "state", str(exc))]) from None


def callers_of(live: Configuration, database: Database | None, fetch: Fetch, clock: Clock) -> IdentifyCallers | None:
    """Return what identifies callers; `None` if they are anonymous."""
    if live.snapshot.auth.mode == "none":
        return None
    accounts = Accounts(database, clock) if database else None
    return IdentifyCallers(live, accounts, fetch, clock, share=1 / live.workers)


def provider_keys_of(database: Database | None, process: ProcessPolicy, clock: Clock) -> ProviderKeys | None:
    """Return users' own provider keys; `None` without a store or an encryption key."""
    if database is None or not process.encryption_keys:
        return None
    return ProviderKeys(database, Envelope(process.encryption_keys), clock)


def storage_of(
    database: Database | None,
    records: LedgerStore | None,
    overrides: ModelOverrides | None,
    agents: StoredAgents,
    live: Configuration,
    callers: IdentifyCallers | None,
    clock: Clock,
) -> Storage | None:
    """Return what the admin API uses of the store."""
    if database is None or records is None or overrides is None:
        return None
    return Storage(
        accounts=Accounts(database, clock),
        ledger=records,
        audit=AuditLog(database),
        overrides=overrides,
        agents=AgentParts(AgentStore(database, clock), agents),
        now=clock.time,
        issue=partial(_issue, live) if live.snapshot.auth.peppers else None,
        forget=callers.forget if callers else lambda: None,
        counts_shared=live.workers == 1 or live.loaded.process.state != "memory",
    )


def _issue(live: Configuration) -> IssuedKey:
    """Return a new key under the pepper in force."""
    return Peppers(live.snapshot.auth.peppers).issue()


def watch(
    metrics: Metrics,
    *,
    upstream: Upstream,
    state: State,
    store: Store | None,
    ledger: BuiltLedger | None,
    callers: IdentifyCallers | None,
    memory: tuple[Watermark, Gate] | None,
) -> None:
    """Add what components measure to the metrics, for those that exist."""
    metrics.watch(upstream.families)
    metrics.watch(process_families)
    if client := state.client:
        metrics.watch(lambda: [state_family(degraded=not client.available)])
    if store:
        metrics.watch(lambda: [store_family(degraded=store.database.degraded)])
    if callers and (accounts := callers.accounts):
        metrics.watch(lambda: [key_look_ups(accounts.look_ups)])
    if memory:
        metrics.watch(partial(memory_families, *memory))
    if ledger:
        metrics.watch(ledger.families)
