"""The connection to Redis, and the circuit around it.

All commands of a process share one connection, on which they are pipelined in order, so no call waits for a free
connection and a command sent later takes effect later. Everything is a script, loaded once per connection.

A failure, an answer that takes longer than `ANSWER_SECONDS`, and an error that says that Redis cannot serve (`NOPERM`,
`OOM`, `READONLY`) end the connection. Until a background probe succeeds, every request fails at once with
`StateUnavailable`. What `post` sends is kept meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha1
from typing import TYPE_CHECKING, Any

from proxy.core.clock import Clock
from proxy.core.errors import StateUnavailable

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

_LOG = logging.getLogger(__name__)

CONNECT_SECONDS = 1.0  # for the connection, the handshake and the first probe; `socket_connect_timeout` of the URL
ANSWER_SECONDS = 0.25  # a longer answer counts as a failure; `socket_timeout` of the URL
RETRY_SECONDS = 0.5  # between two probes while Redis is unavailable
LATE_SECONDS = 0.05  # a timer that is later shows that this process was busy, not that Redis is slow
MAX_KEPT = 10_000  # background commands that are kept while Redis is unavailable; the oldest are dropped
PREFIX = "{signalbox}"  # of all keys: a hash tag, so that a cluster keeps them on one node
URL_FORM = "use `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS"

Argument = str | int | float | bytes


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
        self._new_connection, self._connect_seconds, self.answer_seconds = _connector(url)
        self._clock = clock
        self._policy = policy
        self._connection: AbstractConnection | None = None
        self._waiting: deque[_Command] = deque()  # to be sent
        self._sent: deque[_Command] = deque()  # to be answered, in order
        self._wake = asyncio.Event()
        self._failed = asyncio.Event()
        self._loaded: set[str] = set()  # digests of the scripts that Redis knows
        self._logged_at = -math.inf
        self._dropped = 0  # background commands, in this outage
        self._timer: asyncio.TimerHandle | None = None
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
                await _answer(connection, "EVAL", _PROBE.text, 1, state_key("probe"), 1)
                await _warn_of_eviction(connection)
        except TimeoutError:
            self._fail(f"no connection within {self._connect_seconds:g} s")
        except Exception as exc:  # of the library, the operating system or TLS
            self._fail(_described(exc))
        else:
            self._available(connection)
        finally:
            if self._connection is not connection:
                await _close(connection)

    def _available(self, connection: AbstractConnection) -> None:
        self._connection = connection
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
        now = self._clock.monotonic()
        if now - self._logged_at >= 1.0:
            self._logged_at = now
            fields = {"error": _described(error), "keys": command.keys}
            _LOG.error("a script of the shared state failed", extra={"fields": fields})

    def _enqueue(self, command: _Command) -> None:
        self._waiting.append(command)
        if self.available:
            self._wake.set()

    def _set_timer(self) -> None:
        """Watch the oldest command that has no answer: one timer for all of them."""
        if self._timer is None and self._sent:
            due = self._sent[0].sent_at + self.answer_seconds
            wait = max(0.0, due - self._clock.monotonic())
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(wait, self._check, loop.time() + wait)

    def _check(self, due: float) -> None:
        self._timer = None
        if not self._sent:
            return
        loop = asyncio.get_running_loop()
        if loop.time() - due > LATE_SECONDS:  # the answer may have arrived while this process was busy
            self._timer = loop.call_later(LATE_SECONDS, self._check, loop.time() + LATE_SECONDS)
        elif self._clock.monotonic() - self._sent[0].sent_at >= self.answer_seconds:
            self._fail(f"no answer within {self.answer_seconds * 1000:g} ms")
        else:
            self._set_timer()

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
            await _close(connection)


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


def _connector(url: str) -> tuple[Callable[[], AbstractConnection], float, float]:
    """Return what makes connections to `url`, with the seconds for a connection and for an answer.

    Imports the library.
    """
    try:
        from redis.asyncio import ConnectionPool
    except ImportError:
        raise ValueError("needs the library `redis`; install `signalbox-proxy[redis]`") from None
    try:
        pool = ConnectionPool.from_url(url, protocol=2)
        kwargs: dict[str, Any] = dict(pool.connection_kwargs)
        answer = float(kwargs.pop("socket_timeout", ANSWER_SECONDS))
        connect = float(kwargs.pop("socket_connect_timeout", CONNECT_SECONDS))
        new = partial(pool.connection_class, **kwargs, socket_timeout=None, socket_connect_timeout=connect)
        new()  # finds unknown options
    except (ValueError, TypeError):
        raise ValueError(f"is not a valid URL; {URL_FORM}") from None
    return new, connect, answer


async def _answer(connection: AbstractConnection, *words: Argument) -> Any:
    await connection.send_packed_command(connection.pack_command(*words), check_health=False)
    return await connection.read_response()


async def _close(connection: AbstractConnection) -> None:
    with contextlib.suppress(Exception):  # it is given up in any case
        await connection.disconnect(nowait=True)


async def _warn_of_eviction(connection: AbstractConnection) -> None:
    """Warn if Redis may drop counters: limits then allow more than configured."""
    from redis.exceptions import ResponseError

    try:
        memory = await _answer(connection, "INFO", "memory")
    except ResponseError:
        return  # not permitted
    rows = dict(line.split(":", 1) for line in memory.decode(errors="replace").splitlines() if ":" in line)
    policy = rows.get("maxmemory_policy", "noeviction")
    if rows.get("maxmemory", "0") != "0" and policy != "noeviction":
        _LOG.warning("Redis may evict the shared state", extra={"fields": {"maxmemory_policy": policy}})


def _concerns_one_script(error: Exception) -> bool:
    text = str(error)
    if type(error).__name__ != "ResponseError" or text.startswith(("MISCONF", "NOREPLICAS", "BUSY")):
        return False
    return text.startswith("WRONGTYPE") or "user_script" in text


def _described(exc: BaseException) -> str:
    """Return an error in one line. The library's messages name host and port, but no password."""
    return " ".join(f"{type(exc).__name__}: {exc}".split())[:200]
