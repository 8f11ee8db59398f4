"""The connection to Redis, and the circuit around it.

All commands of a process share one connection, on which they are pipelined in order, so no call waits for a free
connection and a command sent later takes effect later. Everything is a script, loaded once per connection.

A failure ends the connection. So do an answer that takes longer than `answer_seconds`, a time as long as that in which
no answer is faster than `slow_seconds`, and an error that says that Redis cannot serve (`NOPERM`, `OOM`, `READONLY`).
Until a background probe succeeds, every request fails at once with `StateUnavailable`. What `post` sends is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from hashlib import sha1
from typing import TYPE_CHECKING, Any

from proxy.capacity.redis.connection import Argument, answer, close, connector, warn_of_eviction
from proxy.core.clock import Clock
from proxy.core.errors import StateUnavailable
from proxy.core.log_limit import LogLimit

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

_LOG = logging.getLogger(__name__)

SLOW = 0.2  # of the seconds for an answer: a call waits for several answers, one after the other
RETRY_SECONDS = 0.5  # between two probes while Redis is unavailable
LATE_SECONDS = 0.05  # a timer that is later shows that this process was busy, not that Redis is slow
PROBES = 3  # of a Redis that was slow; the fastest answer counts, because this process may be busy
MAX_KEPT = 10_000  # background commands that are kept while Redis is unavailable; the oldest are dropped
LOGGED_AGAIN_SECONDS = 60.0  # between two log lines of scripts that fail with the same keys
MAX_LOGGED = 100  # keys whose last line is remembered
PREFIX = "{signalbox}"  # of all keys: a hash tag, so that a cluster keeps them on one node


class Script:
    """A Lua script; Redis runs it as one atomic step."""

    __slots__ = ("digest", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = sha1(text.encode(), usedforsecurity=False).hexdigest()


# The probe runs a script that writes, because Redis may answer others while it refuses scripts, writes or memory.
_PROBE = Script("return redis.call('SET', KEYS[1], ARGV[1], 'EX', 60)")


class _Command:
    """A command on its way; `answer` is `None` for one that nothing waits for."""

    __slots__ = ("answer", "arguments", "keys", "on_abandoned", "repeat", "script", "sent_at")

    def __init__(
        self,
        script: Script,
        keys: Sequence[str],
        arguments: Sequence[Argument],
        answer: asyncio.Future[Any] | None = None,
        on_abandoned: Callable[[Any], None] | None = None,
    ) -> None:
        self.script = script
        self.keys = keys
        self.arguments = arguments
        self.answer = answer
        self.on_abandoned = on_abandoned
        self.repeat = False  # it is sent again if its answer was lost
        self.sent_at = 0.0

    def words(self, loaded: set[str]) -> tuple[Argument, ...]:
        """Return the words of the command; EVAL loads the script."""
        script = self.script
        if script.digest in loaded:
            return ("EVALSHA", script.digest, len(self.keys), *self.keys, *self.arguments)
        loaded.add(script.digest)
        return ("EVAL", script.text, len(self.keys), *self.keys, *self.arguments)


class StateClient:
    """One connection to Redis for this process; `run` keeps it, and restores it after a failure."""

    def __init__(self, url: str, clock: Clock, policy: str = "open") -> None:
        """`policy` of `dependencies.state.fail` is logged with an outage.

        Raises `ValueError` for a URL that is not valid, without its text, which may contain a password.
        """
        self._new_connection, self._connect_seconds, self.answer_seconds = connector(url)
        self.slow_seconds = SLOW * self.answer_seconds
        self._clock = clock
        self._policy = policy
        self._connection: AbstractConnection | None = None
        self._waiting: deque[_Command] = deque()  # to be sent
        self._sent: deque[_Command] = deque()  # to be answered, in order
        self._wake = asyncio.Event()
        self._failed = asyncio.Event()
        self._loaded: set[str] = set()  # digests of the scripts that Redis knows
        self._lines = LogLimit()
        self._logged: dict[str, float] = {}  # when a failure of scripts with these keys was logged
        self._dropped = 0  # background commands, in this outage
        self._timer: asyncio.TimerHandle | None = None
        self._slow_since: float | None = None  # no answer has been fast since then
        self._was_slow = False  # the reason of this outage: it ends when Redis is fast
        self._reason = "not connected yet"  # why Redis is unavailable
        self.available = False
        self.on_recovery: list[Callable[[], None]] = []  # called whenever Redis is available (again)

    async def call(
        self,
        script: Script,
        keys: Sequence[str],
        arguments: Sequence[Argument] = (),
        on_abandoned: Callable[[Any], None] | None = None,
    ) -> Any:
        """Run a script and return its result: integers, bytes, `None` and lists of them.

        Raises `StateUnavailable`. `on_abandoned` receives the result if the caller is cancelled before it arrives.
        """
        if not self.available:
            raise StateUnavailable()
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._enqueue(_Command(script, keys, arguments, answer, on_abandoned))
        try:
            return await answer
        except asyncio.CancelledError:  # possibly after the result has arrived
            if on_abandoned and answer.done() and not answer.cancelled() and answer.exception() is None:
                on_abandoned(answer.result())
            raise

    def post(
        self, script: Script, keys: Sequence[str], arguments: Sequence[Argument] = (), *, repeat: bool = False
    ) -> None:
        """Run a script in the background, before everything that is sent later; its result is dropped.

        While Redis is unavailable the newest `MAX_KEPT` are kept, and sent when it is available again. With `repeat`
        a script that may or may not have run is sent again; it must be idempotent.
        """
        if not self.available and len(self._waiting) >= MAX_KEPT:
            self._waiting.popleft()
            self._dropped += 1
        command = _Command(script, keys, arguments)
        command.repeat = repeat
        self._enqueue(command)

    async def start(self) -> None:
        """Connect before the first call; a failure is logged, and `run` tries again."""
        await self._connect()

    async def run(self) -> None:
        """Serve commands, and reconnect after failures, until cancelled."""
        try:
            while True:
                if self._connection is None:
                    await self._connect()
                if self._connection is not None:
                    await self._serve(self._connection)
                await self._clock.sleep(RETRY_SECONDS)
        finally:
            if self._connection is not None and self.available:
                await self._flush(self._connection)
            self._fail("stopped", logged=False)
            await self._disconnect()

    async def _connect(self) -> None:
        """Connect and probe; on success Redis is available."""
        connection = self._new_connection()
        try:
            async with asyncio.timeout(self._connect_seconds):
                await connection.connect()  # type: ignore[no-untyped-call]
                fastest = min([await self._probe(connection) for _ in range(PROBES if self._was_slow else 1)])
                await warn_of_eviction(connection)
        except TimeoutError:
            self._fail(f"no connection within {self._connect_seconds:g} s")
        except Exception as exc:  # of the library, the operating system or TLS
            self._fail(_described(exc))
        else:
            if not self._was_slow or fastest < self.slow_seconds:
                self._available(connection)
        finally:
            if self._connection is not connection:
                await close(connection)

    async def _probe(self, connection: AbstractConnection) -> float:
        """Run a script, and return how long that took."""
        began = self._clock.monotonic()
        await answer(connection, "EVAL", _PROBE.text, 1, state_key("probe"), 1)
        return self._clock.monotonic() - began

    def _available(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._slow_since, self._was_slow = None, False
        self._loaded.clear()
        self._failed.clear()
        self._wake.set()  # sends what was kept
        self.available = True
        _LOG.info("the shared state is available", extra={"fields": {"dropped": self._dropped}})
        self._dropped = 0
        for notify in self.on_recovery:
            notify()

    async def _serve(self, connection: AbstractConnection) -> None:
        """Send and receive until the connection fails."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._send(connection)), group.create_task(self._receive(connection))]
            await self._failed.wait()
            for task in tasks:
                task.cancel()
        await self._disconnect()

    async def _send(self, connection: AbstractConnection) -> None:
        try:
            while True:
                await self._wake.wait()
                if self._failed.is_set():
                    return  # what was kept is for the next connection
                self._wake.clear()
                batch = list(self._waiting)
                self._waiting.clear()
                now = self._clock.monotonic()
                for command in batch:
                    command.sent_at = now
                self._sent += batch
                self._set_timer()
                packed = connection.pack_commands([command.words(self._loaded) for command in batch])
                await connection.send_packed_command(packed, check_health=False)
        except Exception as exc:
            self._fail(_described(exc))

    async def _receive(self, connection: AbstractConnection) -> None:
        from redis.exceptions import NoScriptError, ResponseError

        try:
            while not self._failed.is_set():
                try:
                    result: Any = await connection.read_response(disconnect_on_error=False)
                except ResponseError as exc:
                    result = exc
                command = self._sent.popleft()
                if self._slow_since and self._clock.monotonic() - command.sent_at < self.slow_seconds:
                    self._slow_since = None
                if isinstance(result, NoScriptError):  # after SCRIPT FLUSH
                    self._loaded.discard(command.script.digest)
                    self._enqueue(command)
                elif isinstance(result, ResponseError):
                    self._refused(command, result)
                else:
                    _resolve(command, result)
        except Exception as exc:
            self._fail(_described(exc))

    async def _flush(self, connection: AbstractConnection) -> None:
        """Send what is left, at the end of the process."""
        from redis.exceptions import ResponseError

        batch = list(self._waiting)
        self._waiting.clear()
        with contextlib.suppress(Exception):
            async with asyncio.timeout(self.answer_seconds):
                packed = connection.pack_commands([command.words(self._loaded) for command in batch])
                await connection.send_packed_command(packed, check_health=False)
                for _ in range(len(self._sent) + len(batch)):
                    with contextlib.suppress(ResponseError):
                        await connection.read_response()

    def _refused(self, command: _Command, error: Exception) -> None:
        """Handle an error: of one script, such as for a foreign value, or of a Redis that cannot serve."""
        if not _concerns_one_script(error):
            self._sent.appendleft(command)
            self._fail(_described(error))
            return
        if command.answer is not None and not command.answer.done():
            command.answer.set_exception(StateUnavailable())
        if self._may_log(str(command.keys)):
            fields = {"error": _described(error), "keys": command.keys}
            _LOG.error("a script of the shared state failed", extra={"fields": fields})

    def _may_log(self, keys: str) -> bool:
        """Return whether to log that a script failed: at most once a second, and once a minute of the same keys."""
        now = self._clock.monotonic()
        if now - self._logged.get(keys, -math.inf) < LOGGED_AGAIN_SECONDS or self._lines.passes(now) is None:
            return False
        if len(self._logged) >= MAX_LOGGED:
            self._logged.clear()
        self._logged[keys] = now
        return True

    def _enqueue(self, command: _Command) -> None:
        self._waiting.append(command)
        if self.available:
            self._wake.set()

    def _set_timer(self) -> None:
        """Watch the oldest command that has no answer: one timer for all of them."""
        if self._timer is None and self._sent:
            age = self._clock.monotonic() - self._sent[0].sent_at
            due = self.slow_seconds if age < self.slow_seconds else self.answer_seconds
            self._check_after(max(0.0, due - age))

    def _check_after(self, wait: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(wait, self._check, loop.time() + wait)

    def _check(self, due: float) -> None:
        self._timer = None
        if not self._sent:
            return
        age = self._clock.monotonic() - self._sent[0].sent_at
        late = asyncio.get_running_loop().time() - due
        if late > LATE_SECONDS:  # the answer may have arrived while this process was busy
            self._slow_since = None
            self._check_after(LATE_SECONDS)
        elif age >= self.answer_seconds:
            self._fail(f"no answer within {self.answer_seconds * 1000:g} ms")
        elif age >= self.slow_seconds and late < self.slow_seconds / 2 and self._is_slow():
            self._was_slow = True
            self._fail(f"answers take longer than {self.slow_seconds * 1000:g} ms")
        else:
            self._set_timer()

    def _is_slow(self) -> bool:
        """Return whether no answer has been fast for some time; the oldest command has had none for too long."""
        now = self._clock.monotonic()
        if self._slow_since is None:
            self._slow_since = now
        return now - self._slow_since >= self.answer_seconds

    def _fail(self, reason: str, *, logged: bool = True) -> None:
        """Open the circuit: fail what waits for an answer, keep what nothing waits for and was not sent."""
        if logged and (self.available or reason != self._reason):
            fields = {"cause": reason, "fail": self._policy}
            _LOG.warning("the shared state is unavailable", extra={"fields": fields})
        self.available = False
        self._reason = reason
        self._failed.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        kept = [command for command in self._sent if command.repeat]
        kept += [command for command in self._waiting if command.answer is None]
        for command in (*self._sent, *self._waiting):
            if command.answer is not None and not command.answer.done():
                command.answer.set_exception(StateUnavailable())
        self._sent.clear()
        self._waiting = deque(kept[-MAX_KEPT:])

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await close(connection)


def state_key(*parts: str) -> str:
    """Return a key of the shared state."""
    return ":".join((PREFIX, *parts))


def _resolve(command: _Command, result: Any) -> None:
    answer = command.answer
    if answer is None:
        return
    if not answer.done():
        answer.set_result(result)
    elif command.on_abandoned is not None and answer.cancelled():
        command.on_abandoned(result)


def _concerns_one_script(error: Exception) -> bool:
    text = str(error)
    if type(error).__name__ != "ResponseError" or text.startswith(("MISCONF", "NOREPLICAS", "BUSY")):
        return False
    return text.startswith("WRONGTYPE") or "user_script" in text


def _described(exc: BaseException) -> str:
    """Return an error in one line. The library's messages name host and port, but no password."""
    return " ".join(f"{type(exc).__name__}: {exc}".split())[:200]
