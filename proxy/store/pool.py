"""Connections to one database, with timeouts, and failing fast while it does not answer.

After a failure of the database every use raises `StoreUnavailable` at once, until a probe in the background has
succeeded. Work runs in a task of its own: a caller that is cancelled, or whose time is over, does not wait for a
connection that hangs, and a transaction is never cut by a client that leaves.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from proxy.core.clock import Clock
from proxy.store.errors import StoreError, StoreUnavailable
from proxy.store.failures import Kind, classify

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

_LOG = logging.getLogger(__name__)
T = TypeVar("T")
Work = Callable[["AsyncConnection"], Awaitable[T]]

PROBE_SECONDS = 0.25  # between two probes
PROBE_TIMEOUT_SECONDS = 1.0
HEARTBEAT_SECONDS = 1.0  # work that takes longer is cut off if the database does not answer anything else either
TURNS = 20  # of the event loop that an answer has time for at least: a loop that is late is no fault of the database
END_SECONDS = 2.0  # for the work under way when the service ends
LOG_SECONDS = 1.0  # between two log lines about failures
ATTEMPTS = 3  # of a transaction that a conflict with another one has ended


class Opener(Protocol):
    """Connects to a database."""

    async def open(self) -> AsyncEngine:
        """Return an engine whose database answers and has a schema that this version can use."""
        ...

    async def probe(self, engine: AsyncEngine) -> None:
        """Raise an error if the database does not work."""
        ...

    @property
    def concurrent(self) -> bool:
        """Whether a second connection can be used while the first one works."""
        ...


class Pool:
    """The connections of one engine, which is opened at its first use."""

    def __init__(self, name: str, opener: Opener, clock: Clock, on_change: Callable[[], None]) -> None:
        """`on_change` is called when `degraded` has changed."""
        self._name = name
        self._on_change = on_change
        self._opener = opener
        self._clock = clock
        self._engine: AsyncEngine | None = None
        self._opening = asyncio.Lock()
        self._failure: str | None = None
        self._failed = asyncio.Event()
        self._logged = float("-inf")
        self._group: asyncio.TaskGroup | None = None
        self._working: set[asyncio.Task[Any]] = set()

    @property
    def degraded(self) -> bool:
        """Whether uses fail at once."""
        return self._failure is not None

    @property
    def opened(self) -> bool:
        """Whether the database has been used."""
        return self._engine is not None or self.degraded

    async def open(self) -> AsyncEngine:
        """Return the engine. Raises `StoreUnavailable`."""
        self._check()
        if self._engine is None:
            async with self._opening:
                self._check()
                if self._engine is None:
                    self._engine = await self._opened()
        return self._engine

    async def use(self, work: Work[T], seconds: float, *, again: bool) -> T:
        """Run `work` in a transaction, within `seconds`; once more if `again` and its connection was lost.

        Raises `StoreUnavailable`.
        """
        engine = await self.open()
        result = await self._within(engine, self._transaction(engine, work, again=again), seconds)
        if isinstance(result, BaseException):
            raise result
        return result

    async def run(self) -> None:
        """Probe after each failure until the database works again; until cancelled. Work under way is completed."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                while True:
                    await self._failed.wait()
                    await self._clock.sleep(PROBE_SECONDS)
                    await self._probe()
            finally:
                self._group = None  # what is used from now on, until `close`, runs in the task of its caller
                if self._working:
                    await asyncio.wait(self._working, timeout=END_SECONDS)

    async def close(self) -> None:
        """Close all connections."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await _dispose(engine)

    def _check(self) -> None:
        if self._failure is not None:
            raise StoreUnavailable(self._failure)

    async def _opened(self) -> AsyncEngine:
        try:
            return await self._opener.open()
        except Exception as exc:
            failure = classify(exc)
            if failure is None:
                raise
            self._fail(failure.text, None)
            raise StoreUnavailable(self._message(failure.text)) from None

    async def _transaction(self, engine: AsyncEngine, work: Work[T], *, again: bool) -> T | BaseException:
        """Return the result, or the error: an error that a task raises would end the tasks of all others."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with engine.begin() as connection:
                    return await work(connection)
            except StoreError as exc:
                return exc
            except Exception as exc:
                failure = classify(exc)
                if failure is None:
                    return exc
                if attempt < ATTEMPTS and (failure.kind is Kind.CONFLICT or (again and failure.kind is Kind.LOST)):
                    again = False
                    continue
                if failure.kind in (Kind.LOST, Kind.DOWN):
                    self._fail(failure.text, engine)
                return StoreUnavailable(self._message(failure.text))
        raise AssertionError

    async def _within(self, engine: AsyncEngine, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Run `work`, and stop waiting for it after `seconds`, or when the database answers nothing at all."""
        if self._group is None:  # no service runs, as in a command
            try:
                async with asyncio.timeout(seconds):
                    return await work
            except TimeoutError:
                raise self._timed_out(seconds, engine) from None
        task = self._group.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)
        step = min(seconds, HEARTBEAT_SECONDS) / TURNS
        steps = round(seconds / step)
        try:
            for number in count(1):
                done, _ = await asyncio.wait({task}, timeout=step)
                if done:
                    if task.cancelled():
                        raise StoreUnavailable(self._message("it is being closed"))
                    return task.result()
                if number >= steps:
                    raise self._timed_out(seconds, engine)
                if number % TURNS == 0 and self._opener.concurrent:
                    await self._within(engine, self._transaction(engine, beat, again=False), HEARTBEAT_SECONDS)
            raise AssertionError
        except StoreUnavailable:
            task.cancel()
            raise

    def _timed_out(self, seconds: float, engine: AsyncEngine) -> StoreUnavailable:
        text = f"no answer within {seconds:g} s"
        self._fail(text, engine)
        return StoreUnavailable(self._message(text))

    def _fail(self, text: str, engine: AsyncEngine | None) -> None:
        """Fail at once from now on; a failure of connections that were replaced meanwhile does not count."""
        if engine is not self._engine:
            return
        before, self._failure = self._failure, self._message(text)
        self._failed.set()
        if before is None:
            self._on_change()
        now = self._clock.monotonic()
        if now - self._logged >= LOG_SECONDS:
            self._logged = now
            _LOG.error("the store is unavailable", extra={"fields": {"store": self._name, "reason": text}})

    def _message(self, text: str) -> str:
        return f"the store {self._name} is unavailable: {text}"

    async def _probe(self) -> None:
        """Use the database once; its old connections are replaced if it works."""
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                engine = await self._opener.open()
                try:
                    await self._opener.probe(engine)
                except BaseException:
                    await engine.dispose()
                    raise
        except Exception as exc:
            failure = classify(exc)
            if failure is not None:
                self._fail(failure.text, self._engine)
            else:
                _LOG.exception("the probe of the store failed", extra={"fields": {"store": self._name}})
            return
        old, self._engine, self._failure = self._engine, engine, None
        self._failed.clear()
        self._on_change()
        _LOG.info("the store is available again", extra={"fields": {"store": self._name}})
        if old is not None and self._group is not None:
            self._group.create_task(_dispose(old))


async def beat(connection: AsyncConnection) -> None:
    """Use the database."""
    await connection.exec_driver_sql("SELECT 1")


async def _dispose(engine: AsyncEngine) -> None:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
            await engine.dispose()
    except Exception as exc:  # the connections may be broken
        _LOG.debug("connections of the store were not closed", extra={"fields": {"kind": type(exc).__name__}})
