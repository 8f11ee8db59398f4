"""The service that learns: takes labels, fits new versions in the background, and puts them to use.

All processes read the same labels, versions and state from the store every few seconds, so that replicas agree. A
version serves only after its check (`check.py`). While learning is frozen, no version is made.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from proxy.core.call import Call
from proxy.core.clock import Clock
from proxy.core.errors import InvalidRequest, NotFound
from proxy.core.learning import LearningRules
from proxy.core.model import Tier
from proxy.core.plan import Plan
from proxy.core.principal import Principal
from proxy.core.record import Outcome, Record
from proxy.core.snapshot import Live
from proxy.core.timestamps import iso
from proxy.internal_calls import InternalCalls
from proxy.learning.control import Control, Store, Values, written_again
from proxy.learning.decisions import Decision, decision_for, decision_of, features_of, owner_of
from proxy.learning.failures import Failures
from proxy.learning.judge import Drawn, Judge, Sample, drawn
from proxy.learning.labels import FEEDBACK, Label
from proxy.learning.memory import MOST, Decisions
from proxy.learning.signals import Signals
from proxy.learning.slices import sliced
from proxy.routing.learned import LearnedPredictor, State, decode, encode
from proxy.routing.members import listed_tiers
from proxy.routing.predict import PRIOR, Predictor
from proxy.store.errors import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from proxy.learning.rating import Answer
    from proxy.surfaces.base import Encoder, Surface

EVERY = 5.0  # seconds between two looks into the store,
SOON = 1.0  # and after a label or a routed prompt, which rarely comes alone
KEEP = 10  # versions before the newest one
MOST_LABELS = 10_000  # that a version is fitted to
BATCH, SHARE = 20, 0.1  # new labels for which a version is made at once: at least so many, and this share of all;
QUIET = 3_000_000  # with fewer, when none has come for so many microseconds;
PAUSE = 10.0  # after a version, times as long as it took to make it
LONGEST = 128  # characters of an id
_LOG = logging.getLogger(__name__)


class Predicts(Protocol):
    """The router, whose predictor is replaced."""

    predictor: Predictor


class Learning:
    """One instance for each process; also a background service."""

    def __init__(
        self,
        store: Store,
        live: Live,
        router: Predicts,
        clock: Clock,
        calls: InternalCalls | None = None,
        degraded: Callable[[], bool] = lambda: False,
    ) -> None:
        """`calls` are those of the judge; for `degraded` see there."""
        self.judge = Judge(calls, live, clock, self._judged, degraded) if calls is not None else None
        self._store = store
        self._live = live
        self._router = router
        self._clock = clock
        self._failures = Failures(clock)
        self._decisions = Decisions()
        self._signals = Signals()
        self._waiting: list[Values] = []  # decisions that are not in the store yet
        self._labels: list[Label] = []  # of signals and of the judge, that are not in the store yet
        self._wake = asyncio.Event()  # a label or a routed prompt has come
        self._state: State | None = None  # what serves
        self._learns = asyncio.Lock()  # held while a version is made
        self._tried = 0  # the time of the newest label of the last fit
        self._paused_until = 0.0  # no version is made before
        self._rejected: Mapping[str, Any] | None = None  # the result of the last check that failed

    def explore(self, call: Call) -> float:
        """Return the share of exploration for a call."""
        rules = call.snapshot.learning
        return rules.explore if rules is not None else 0.0

    def watch(
        self, call: Call, record: Record, encoder: Encoder | None, surface: Surface, *, native: bool = False
    ) -> Encoder | None:
        """Return the encoder of an answer; one around it, if the answer is rated or judged."""
        rules, plan = call.snapshot.learning, record.plan
        if rules is None or plan is None or plan.conversation is None or call.count is not None:
            return encoder
        chosen = record.chosen
        sampled = drawn(call, plan, chosen, rules) if self.judge is not None and chosen is not None else None
        if not rules.signals and sampled is None:
            return encoder
        from proxy.learning.reading import Reading  # only here: most processes read no answers

        done = partial(self._read, call, record, sampled)
        if native and call.native is not None:
            from proxy.learning.native import native_reading

            return native_reading(call, call.native, encoder, surface, done)
        return Reading(encoder, surface, stream=call.stream, done=done)

    def _read(self, call: Call, record: Record, sampled: Drawn | None, answer: Answer | None) -> None:
        """Rate a complete answer, and give it to the judge. An error in this must not break the answer."""
        from proxy.learning.rating import rate

        rules = call.snapshot.learning
        try:
            if rules is not None and rules.signals:
                record.rating = rate(call.body, answer, record.finish_reason)
            decision = decision_for(record) if sampled is not None else None
            if self.judge is None or sampled is None or decision is None or answer is None or answer.media:
                return
            other = sampled.shadow if sampled.shadow != decision.chosen else None
            self.judge.put(Sample(call, decision, owner_of(call.principal), answer, other))
        except Exception as exc:
            if self._failures.is_new(exc):
                _LOG.exception("an answer cannot be rated", extra={"fields": {"id": record.id}})

    def answered(self, record: Record) -> None:
        """Remember the decision for a call of `auto` that has ended."""
        decision = decision_for(record)
        if decision is not None and record.principal is not None:
            self._decisions.add(decision)
            rules = self._live.snapshot.learning
            if rules is not None and rules.signals:
                self._keep(self._signals.read(record, decision, owner_of(record.principal), self._now()))

    def named(self, record: Record) -> None:
        """Remember a call that `auto` has not decided, such as one to a named model, so that it can be judged."""
        call, plan = record.call, record.plan
        if call is None or plan is None or record.outcome is not Outcome.OK or call.count is not None:
            return
        features = features_of(call)
        plan.features = lambda: features  # also for the ledger
        decision = decision_for(record)
        if decision is not None:
            self._decisions.add(decision)

    def routed(self, call: Call, plan: Plan) -> None:
        """Remember the decision for a prompt that was routed without a call."""
        features, learns = plan.features(), call.snapshot.learning is not None
        if features is None and learns:
            features = features_of(call)  # also of a named model, so that it can be judged
        if features is None:
            return
        targets, tenant = tuple(target.deployment.name for target in plan.targets), call.principal.tenant
        self._decisions.add(Decision(call.id, tenant, targets[0], targets, plan.propensity, features))
        if learns and len(self._waiting) < MOST:
            about = {"chosen": targets[0], "targets": targets, "propensity": plan.propensity}
            row = {"id": call.id, "time": self._now(), "tenant": tenant, "features": features}
            self._waiting.append({**row, "decision": msgspec.json.encode(about)})
            self._wake.set()

    async def give(
        self, principal: Principal, id: str, score: float, model: str | None, comment: str | None = None
    ) -> Label:
        """Keep a judgement of an answer, and return it. Raises `NotFound` and `InvalidRequest`."""
        rules = self._live.snapshot.learning
        if comment is not None and (rules is None or not rules.comments):
            message = "`comment`: this server keeps no comments (`learning.comments`); send the score without one."
            raise InvalidRequest(message, param="comment")
        decision = self._decisions.get(id) or await self._stored(id)
        if decision is None or (decision.tenant != principal.tenant and principal.role != "admin"):
            raise NotFound(f"There is no call or routed prompt `{id[:LONGEST]}`.")
        name = model or decision.chosen
        if name not in (decision.chosen, *decision.targets):
            raise InvalidRequest("`model` must be a model that the decision for this id lists.", param="model")
        propensity = decision.propensity if name == decision.chosen else 1.0
        owner = owner_of(principal)
        label = Label(id, name, FEEDBACK, self._now(), owner, score, 1.0, propensity, decision.features, comment)
        await written_again(lambda: self._store.add_labels([msgspec.structs.asdict(label)]), self._clock)
        self._wake.set()
        return label

    async def _stored(self, id: str) -> Decision | None:
        """Return a decision of the store, which gets those of other processes after a moment."""
        if len(id) > LONGEST:
            return None
        row = await self._store.decision(id)
        if row is None and self._store.shared:
            await self._clock.sleep(SOON)
            row = await self._store.decision(id)
        return None if row is None else decision_of(row)

    async def run(self) -> None:
        """Learn until cancelled."""
        failures = self._failures
        try:
            while True:
                if await self._clock.wait_for(self._wake, EVERY):
                    self._wake.clear()
                    await self._clock.sleep(SOON)
                try:
                    await self.step()
                except StoreError as exc:
                    if failures.is_new(exc):
                        _LOG.warning("the store of learning cannot be used", extra={"fields": {"error": str(exc)}})
                except Exception as exc:
                    if failures.is_new(exc):
                        _LOG.exception("learning has failed; the version in use stays")
        finally:
            with suppress(StoreError):
                await self.flush()

    async def start(self) -> None:
        """Put the newest version to use before the first call, if the store answers in time."""
        if self._live.snapshot.learning is None:
            return
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(3.0):
                    await self.follow()
        except StoreError:
            _LOG.warning("what was learned cannot be read; the prior serves until it can")

    async def step(self) -> None:
        """Write to the store, follow it, and make a new version if there are enough new labels."""
        await self.flush()
        rules = self._live.snapshot.learning
        if rules is None and self._state is None:
            return  # the store is not opened for it
        control, newest = await self.follow()
        if rules is not None and not control.frozen and control.version is None:
            await self._learn(rules, control, newest)

    async def update(self) -> dict[str, Any]:
        """Make a version of all labels now, if it passes its check, and return what `status` returns."""
        rules = self._live.snapshot.learning
        if rules is None:
            raise InvalidRequest("`learning.enabled` is not set; without it, nothing is learned.")
        await self.flush()
        control, newest = await self.follow()
        if control.frozen or control.version is not None:
            raise InvalidRequest("Learning is frozen or rolled back. Send `POST /admin/learning/resume` first.")
        await self._learn(rules, control, newest, now=True)
        return await self.status()

    async def flush(self) -> None:
        """Write new decisions and labels to the store. While it is unavailable, they stay in memory."""
        rows, self._waiting = self._waiting, []
        labels, self._labels = self._labels, []
        try:
            if rows:
                await self._store.add_decisions(rows)
                rows = []
            if labels:
                await self._store.add_labels([msgspec.structs.asdict(label) for label in labels])
                labels = []
        except StoreUnavailable:
            self._waiting, self._labels = rows + self._waiting, labels + self._labels
            raise

    async def follow(self) -> tuple[Control, int]:
        """Put the version of the store to use; return the state of learning, and the number of the newest version."""
        newest, values = await self._store.newest()
        control = msgspec.convert(values, Control)
        wanted = control.version
        if wanted is None:
            wanted = newest if newest > control.after else 0
        if self._live.snapshot.learning is None:
            wanted = 0
        if wanted != (self._state.version if self._state is not None else 0):
            stored = await self._store.load(wanted) if wanted else None
            self._use(decode(stored) if stored is not None else None)
        return control, newest

    async def change(self, **changes: Any) -> dict[str, Any]:
        """Change the state of learning, and return what `status` returns."""
        _, values = await self._store.newest()
        control = msgspec.structs.replace(msgspec.convert(values, Control), **changes)
        await self._store.control(msgspec.structs.asdict(control))
        return await self.status()

    async def judgements(self, call_id: str) -> Sequence[Values]:
        """Return the labels of a call, with their comments."""
        return await self._store.judgements(call_id)

    async def roll_back(self, version: int | None) -> dict[str, Any]:
        """Serve an earlier version, or the prior, until learning is resumed; by default the one before that in use."""
        kept = [number for number, _ in await self._store.versions()]
        control, _ = await self.follow()
        current = self._state.version if self._state is not None else 0
        known = ", ".join(map(str, kept)) or "none"
        if version is None:
            if not current:
                message = f"The prior serves already. Send `version`, a version that is kept: {known}."
                raise InvalidRequest(message, param="version")
            version = next((number for number in kept if control.after < number < current), 0)
        if version != 0 and version not in kept:
            message = f"`version` must be a version that is kept: {known}, or 0, the prior."
            raise InvalidRequest(message, param="version")
        return await self.change(version=version)

    async def reset(self) -> dict[str, Any]:
        """Return to the prior; labels so far do not count any more."""
        newest, _ = await self._store.newest()
        return await self.change(version=None, after=newest, since=self._now())

    async def status(self) -> dict[str, Any]:
        """Return the state of learning, as `/admin/learning` shows it."""
        control, newest = await self.follow()
        state, counts = self._state, await self._store.counts(control.since, MOST_LABELS)
        learned = {} if state is None else state.models
        return {
            "object": "learning",
            "enabled": self._live.snapshot.learning is not None,
            "frozen": control.frozen,
            "rolled_back": control.version is not None,
            "version": 0 if state is None else state.version,
            "newest": newest,
            "labels": dict(sorted(counts.items())),
            "models": {name: {"labels": each.labels, "share": each.share} for name, each in learned.items()},
            "check": None if state is None else state.check,
            "last_rejected": self._rejected,
            "versions": [
                {"version": number, "created_at": iso(time / 1e6)} for number, time in await self._store.versions()
            ],
        }

    async def _learn(self, rules: LearningRules, control: Control, newest: int, *, now: bool = False) -> None:
        """Make a version of all labels; without `now` only if enough of them are new."""
        async with self._learns:
            last = max(self._tried, self._state.until if self._state is not None else 0)
            if not now and (
                self._clock.monotonic() < self._paused_until
                or not await self._store.labels(max(last + 1, control.since), 1)
            ):
                return
            of_key = math.ceil(rules.key_share * MOST_LABELS)
            labels = [Label(**values) for values in await self._store.labels(control.since, MOST_LABELS, of_key)]
            if not labels:
                return  # they were deleted meanwhile
            latest = labels[-1].time
            fresh = sum([label.time > last for label in labels])
            if not now and fresh < max(BATCH, SHARE * len(labels)) and self._now() - latest < QUIET:
                return
            self._tried, began = latest, self._clock.monotonic()
            state = await self._fitted(rules, labels, newest + 1)
            self._paused_until = self._clock.monotonic() + PAUSE * (self._clock.monotonic() - began)
        if state is not None and await self._store.publish(state.version, self._now(), encode(state), KEEP):
            self._rejected = None
            _LOG.info("learned from feedback", extra={"fields": {"version": state.version, "labels": state.labels}})
        await self.follow()

    async def _fitted(self, rules: LearningRules, labels: Sequence[Label], version: int) -> State | None:
        """Return a version that has passed its check; else keep the reason for `status`."""
        from proxy.learning.fit import counted, examples_of, fit_and_check  # only here: most processes learn nothing

        examples = await sliced(examples_of(labels, rules.key_share))
        state: State | None = await sliced(fit_and_check(version, examples, self._tiers(), rules, self._state))
        if state is None:
            reason = "no model has `min_labels` labels that count; `key_share` bounds those of one key"
            self._rejected = {"passed": False, "counted": counted(examples), "reason": reason}
        elif not state.check["passed"]:
            self._rejected = state.check
            _LOG.info("a new version of what was learned is not used", extra={"fields": dict(state.check)})
            return None
        return state

    def _use(self, state: State | None) -> None:
        self._state = state
        self._router.predictor = PRIOR if state is None else LearnedPredictor(state)

    def _keep(self, labels: Sequence[Label]) -> None:
        """Take labels that go to the store soon, unless too many are waiting."""
        if len(self._labels) < MOST:
            self._labels += labels

    def _judged(self, labels: Sequence[Label]) -> None:
        self._keep(labels)
        self._wake.set()

    def _tiers(self) -> dict[str, Tier | None]:
        snapshot = self._live.snapshot
        listed = listed_tiers(snapshot)
        return {name: listed.get(name, each.tier) for name, each in snapshot.deployments.items()}

    def _now(self) -> int:
        return int(self._clock.time() * 1e6)
