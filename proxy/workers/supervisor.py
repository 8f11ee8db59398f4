"""The supervisor: starts the workers, gives them connections, and replaces those that end.

It alone accepts connections and gives each to the worker with the fewest open ones, so that a few keep-alive
connections are spread evenly on every system: with `SO_REUSEPORT` the kernel spreads them by a hash on Linux and not at
all on macOS, and with a shared listener the worker that wakes up first takes most. Connections
that no worker has taken yet survive the end of any worker.

It has one thread and no event loop, so that it can fork at any time. It never blocks: not on a worker, whose messages
wait in a buffer, and not on the log, whose lines a worker writes.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

from proxy.core.clock import Clock
from proxy.workers.board import OPEN, PID, RECEIVED, Board
from proxy.workers.member import Member
from proxy.workers.messages import Decoder, Message, encode
from proxy.workers.questions import Questions

_LOG = logging.getLogger(__name__)
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
SETTLED = 30.0  # seconds after which a worker's end no longer counts as a failed start
DELAYS = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds before a worker is replaced, by its failed starts in a row
GIVE_UP = 5  # failed starts in a row with no worker left
RETRY = 0.02  # seconds until a connection is offered again that no worker could take
LAST_WORDS = 10.0  # seconds beyond the drain until workers are killed
_BATCH = 64  # connections accepted at once


class StartError(Exception):
    """The workers do not start."""


@dataclass(eq=False)
class Worker:
    """One worker's process, as the supervisor sees it."""

    index: int
    pid: int
    row: memoryview
    connections: socket.socket
    control: socket.socket
    started: float
    ready: bool = False
    leaving: bool = False
    closed: bool = False  # its end of the control socket
    watched: int = 0  # the events for which its control socket is registered
    sent: int = 0  # connections
    outbox: bytearray = field(default_factory=bytearray)
    decoder: Decoder = field(default_factory=Decoder)

    @property
    def load(self) -> int:
        """Open connections, and those it has not received yet."""
        return int(self.row[OPEN]) + self.sent - int(self.row[RECEIVED])


class Supervisor:
    """Runs `workers` processes that call `main`; each is a fork of this process."""

    def __init__(
        self,
        listener: socket.socket,
        workers: int,
        main: Callable[[Member], None],
        *,
        clock: Clock,
        drain: float,
        on_start: Callable[[], None],
    ) -> None:
        self._listener = listener
        self._count = workers
        self._main = main
        self._clock = clock
        self._drain = drain
        self._on_start = on_start
        self._board = Board(workers)
        self._workers: dict[int, Worker] = {}
        self._failures = [0] * workers
        self._restarts: dict[int, float] = {}  # when to replace the worker of an index
        self._questions = Questions(clock, self._send)
        self._selector = selectors.DefaultSelector()
        self._wakeup, self._waker = socket.socketpair()
        self._signals: list[int] = []
        self._held: socket.socket | None = None  # a connection that no worker could take
        self._held_until = 0.0
        self._turn = 0
        self._accepting = False
        self._announced = False
        self._stop_by: float | None = None  # when workers are killed that have not ended

    def run(self) -> None:
        """Run until all workers have ended after a signal. Raises `StartError` if they do not start."""
        handler = _ToWorker(self)
        logging.getLogger().addHandler(handler)
        self._listener.setblocking(False)
        self._listener.listen(2048)
        self._prepare_signals()
        try:
            for index in range(self._count):
                self._start(index)
            while self._workers or self._restarts:
                for key, events in self._selector.select(self._pause()):
                    key.data(events)
                self._tend()
        finally:
            logging.getLogger().removeHandler(handler)
            self._kill()
            self._listener.close()

    # Workers

    def _start(self, index: int) -> None:
        ours, theirs = socket.socketpair()
        control, their_control = socket.socketpair()
        row = self._board.row(index)
        row[OPEN] = row[RECEIVED] = 0
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            ours.close()
            control.close()
            self._become(index, theirs, their_control)
        theirs.close()
        their_control.close()
        for each in (ours, control):
            each.setblocking(False)
        worker = Worker(index, pid, row, ours, control, self._clock.monotonic())
        self._workers[index] = worker
        self._watch(worker)

    def _become(self, index: int, connections: socket.socket, control: socket.socket) -> NoReturn:
        """Be a worker from here on: without anything of the supervisor's."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, which the supervisor gets too
            for handler in logging.getLogger().handlers[:]:
                logging.getLogger().removeHandler(handler)
            self._selector.close()
            others = (each for worker in self._workers.values() for each in (worker.connections, worker.control))
            for each in (self._listener, self._wakeup, self._waker, *others, *([self._held] if self._held else [])):
                each.close()
            member = Member(
                index,
                self._board,
                workers=self._count,
                connections=connections,
                control=control,
                restarted=self._announced,
            )
            self._main(member)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(OSError, ValueError):
                sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        """Take leave of the workers that have ended."""
        for worker in list(self._workers.values()):
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                self._ended(worker, os.waitstatus_to_exitcode(status))

    def _ended(self, worker: Worker, code: int) -> None:
        while self._read(worker):  # what it has sent last
            pass
        worker.closed = True
        self._watch(worker)
        worker.control.close()
        worker.connections.close()
        del self._workers[worker.index]
        worker.row[PID] = 0
        self._questions.forget(worker.index)
        if self._stop_by is not None:
            return
        if not self._announced:
            raise StartError(f"worker {worker.index} {_how(code)} before it was ready")
        lived = self._clock.monotonic() - worker.started
        failures = 0 if worker.leaving or (worker.ready and lived >= SETTLED) else self._failures[worker.index] + 1
        self._failures[worker.index] = failures
        if failures >= GIVE_UP and not any(other.ready for other in self._workers.values()):
            raise StartError(f"worker {worker.index} {_how(code)}, and the {failures} starts before failed as well")
        delay = DELAYS[min(max(failures - 1, 0), len(DELAYS) - 1)]
        self._restarts[worker.index] = self._clock.monotonic() + delay
        self._questions.restarts += 1
        fields = {"worker": worker.index, "pid": worker.pid, "code": code, "restart_in_s": delay}
        _LOG.warning("a worker ended; it is replaced", extra={"fields": fields})

    def _kill(self) -> None:
        """End workers that are left, without waiting for their calls."""
        for worker in self._workers.values():
            with suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGKILL)
            os.waitpid(worker.pid, 0)
        self._workers.clear()

    # Time and signals

    def _prepare_signals(self) -> None:
        for each in (self._wakeup, self._waker):
            each.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, lambda number, _: self._signals.append(number))
        self._selector.register(self._wakeup, selectors.EVENT_READ, lambda _: self._wakeup.recv(4096))

    def _pause(self) -> float | None:
        """Seconds until something is due."""
        due = [*self._restarts.values(), *self._questions.deadlines()]
        if self._held is not None:
            due.append(self._held_until)
        if self._stop_by is not None:
            due.append(self._stop_by)
        return max(0.0, min(due) - self._clock.monotonic()) if due else None

    def _tend(self) -> None:
        """Do what signals ask for and what is due."""
        while self._signals:
            self._signal(self._signals.pop(0))
        now = self._clock.monotonic()
        for index in [index for index, due in self._restarts.items() if due <= now]:
            del self._restarts[index]
            self._start(index)
        self._questions.expire()
        if self._stop_by is not None and now >= self._stop_by:
            _LOG.error("workers did not end in time and are killed", extra={"fields": {"workers": len(self._workers)}})
            self._kill()
        if self._held is not None and now >= self._held_until:
            connection, self._held = self._held, None
            self._give(connection)
        self._listen()

    def _signal(self, number: int) -> None:
        if number == signal.SIGCHLD:
            self._reap()
        elif number == signal.SIGHUP:
            self._tell("reload")
        elif self._stop_by is None:
            self._restarts.clear()
            self._stop_by = self._clock.monotonic() + self._drain + LAST_WORDS
            self._tell("drain")
        else:  # a second signal does not wait
            self._tell("interrupt")

    def _tell(self, kind: str) -> None:
        for worker in self._workers.values():
            self._send(worker, {"kind": kind})

    # Connections

    def _listen(self) -> None:
        """Accept connections only while a worker can take them; the others wait in the kernel's queue."""
        wanted = self._held is None and any(map(self._serves, self._workers.values()))
        if wanted and not self._accepting:
            self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        elif not wanted and self._accepting:
            self._selector.unregister(self._listener)
        self._accepting = wanted

    def _serves(self, worker: Worker) -> bool:
        return worker.ready and (self._stop_by is not None or not worker.leaving)

    def _accept(self, _: int) -> None:
        for _ in range(_BATCH):
            if self._held is not None:
                return
            try:
                connection, _address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:  # it has gone already, or there are no descriptors
                return
            self._give(connection)

    def _give(self, connection: socket.socket) -> None:
        """Give a connection to the worker with the fewest; keep it for a moment if none can take it."""
        self._turn += 1
        serving = [worker for worker in self._workers.values() if self._serves(worker)]
        for worker in sorted(serving, key=lambda worker: (worker.load, (worker.index + self._turn) % self._count)):
            try:
                socket.send_fds(worker.connections, [b"c"], [connection.fileno()])
            except OSError:  # its queue is full, or it has ended
                continue
            worker.sent += 1
            connection.close()
            return
        self._held, self._held_until = connection, self._clock.monotonic() + RETRY

    # Messages

    def _talk(self, worker: Worker, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush(worker)
        if events & selectors.EVENT_READ:
            self._read(worker)

    def _read(self, worker: Worker) -> bool:
        """Act on what a worker has sent; return whether there may be more."""
        try:
            data = worker.control.recv(1 << 20)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:  # it has ended, or is about to: SIGCHLD reports it
            worker.closed = True
            self._watch(worker)
            return False
        for message in worker.decoder.feed(data):
            self._hear(worker, message)
        return True

    def _watch(self, worker: Worker) -> None:
        """Wait for what can be read, and for space where something is left to write."""
        wanted = 0 if worker.closed else selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.outbox else 0)
        if wanted == worker.watched:
            return
        if not wanted:
            self._selector.unregister(worker.control)
        elif not worker.watched:
            self._selector.register(worker.control, wanted, lambda events: self._talk(worker, events))
        else:
            self._selector.modify(worker.control, wanted, lambda events: self._talk(worker, events))
        worker.watched = wanted

    def _hear(self, worker: Worker, message: Message) -> None:
        kind = message["kind"]
        if kind == "ready":
            worker.ready = True
            if not self._announced and all(each.ready for each in self._workers.values()):
                self._announced = True
                self._on_start()
        elif kind == "leaving":
            worker.leaving = True
        elif kind == "ask":
            self._questions.ask(worker, message, self._workers.values())
        elif kind == "answer":
            self._questions.answer(worker, message)

    def _send(self, worker: Worker, message: Message) -> None:
        worker.outbox += encode(message)
        self._flush(worker)

    def _flush(self, worker: Worker) -> None:
        try:
            sent = worker.control.send(worker.outbox)
        except BlockingIOError:
            sent = 0
        except OSError:  # it has ended, which SIGCHLD reports
            sent = len(worker.outbox)
        del worker.outbox[:sent]
        self._watch(worker)

    def log(self, record: logging.LogRecord) -> None:
        """Let a worker write a line of the log; without one, it goes to standard error."""
        row: dict[str, Any] = {name: getattr(record, name) for name in ("name", "levelno", "levelname", "created")}
        row |= {"msg": record.getMessage(), "fields": getattr(record, "fields", {})}
        for worker in self._workers.values():
            if worker.ready:
                self._send(worker, {"kind": "log", "record": row})
                return
        with suppress(OSError):
            os.write(2, f"{record.levelname.lower()}: {record.getMessage()} {row['fields']}\n".encode())


class _ToWorker(logging.Handler):
    def __init__(self, supervisor: Supervisor) -> None:
        super().__init__()
        self._supervisor = supervisor

    def emit(self, record: logging.LogRecord) -> None:
        self._supervisor.log(record)


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"
