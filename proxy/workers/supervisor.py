"""The supervisor: starts the workers, replaces those that end, and passes signals and questions on.

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
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import IO, Any, NoReturn

from proxy.core.clock import Clock
from proxy.workers.acceptor import Acceptor
from proxy.workers.board import OPEN, RECEIVED, Board
from proxy.workers.member import Member
from proxy.workers.messages import Message
from proxy.workers.process import Worker
from proxy.workers.questions import Questions
from proxy.workers.restarts import Restarts

_LOG = logging.getLogger(__name__)
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
FORK_AGAIN = 1.0  # seconds until it forks again after the system had no memory or process left
KILL_GRACE = 10.0  # seconds beyond the drain until workers are killed


class StartError(Exception):
    """The workers do not start."""


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
        self._count = workers
        self._main = main
        self._clock = clock
        self._drain = drain
        self._on_start = on_start
        self._board = Board(workers)
        self._workers: dict[int, Worker] = {}
        self._policy = Restarts(workers)
        self._restarts: dict[int, float] = {}  # when to replace the worker of an index
        self._questions = Questions[Worker](clock, lambda worker, message: worker.send(message))
        self._selector = selectors.DefaultSelector()
        self._acceptor = Acceptor(listener, self._selector, clock, self._serving)
        self._wakeup, self._waker = socket.socketpair()
        self._signals: list[int] = []
        self._announced = False
        self._configuration: bytes | None = None  # the last one that a worker has loaded
        self._stop_by: float | None = None  # when workers are killed that have not ended

    def run(self) -> None:
        """Run until all workers have ended after a signal. Raises `StartError` if they do not start."""
        handler = _ToWorker(self)
        logging.getLogger().addHandler(handler)
        self._acceptor.listen()
        self._prepare_signals()
        try:
            for index in range(self._count):
                self._start_first(index)
            while self._workers or self._restarts:
                for key, events in self._selector.select(self._pause()):
                    key.data(events)
                self._handle_due()
        finally:
            logging.getLogger().removeHandler(handler)
            self._kill()
            self._acceptor.close()

    # Workers

    def _start_first(self, index: int) -> None:
        try:
            self._start(index)
        except OSError as exc:
            raise StartError(f"worker {index} cannot be started: {exc.strerror}") from exc

    def _start(self, index: int) -> None:
        """Fork a worker. Raises `OSError` if the system has no memory, process or descriptor left."""
        ours, theirs = socket.socketpair()
        control, their_control = socket.socketpair()
        row = self._board.row(index)
        row[OPEN] = row[RECEIVED] = 0
        _flush(sys.stdout, sys.stderr)
        pid = os.fork()
        if pid == 0:
            ours.close()
            control.close()
            self._become(index, theirs, their_control)
        theirs.close()
        their_control.close()
        self._workers[index] = Worker(
            index,
            pid,
            row,
            connections=ours,
            control=control,
            selector=self._selector,
            started=self._clock.monotonic(),
            on_message=self._on_message,
        )

    def _become(self, index: int, connections: socket.socket, control: socket.socket) -> NoReturn:
        """Be a worker from here on: without anything of the supervisor's."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP,))  # until the worker serves
            for number in SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, which the supervisor gets too
            for handler in logging.getLogger().handlers[:]:
                logging.getLogger().removeHandler(handler)
            self._selector.close()
            self._acceptor.close()
            sockets = (each for worker in self._workers.values() for each in worker.sockets)
            for each in (self._wakeup, self._waker, *sockets):
                each.close()
            member = Member(
                index,
                self._board,
                workers=self._count,
                connections=connections,
                control=control,
                restarted=self._announced,
                configuration=self._configuration,
            )
            self._main(member)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            _flush(sys.stderr)
            os._exit(code)

    def _reap(self) -> None:
        """Take leave of the workers that have ended."""
        for worker in list(self._workers.values()):
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                self._ended(worker, os.waitstatus_to_exitcode(status))

    def _ended(self, worker: Worker, code: int) -> None:
        worker.close()
        del self._workers[worker.index]
        self._questions.forget(worker.index)
        if self._stop_by is not None:
            return
        if not self._announced:
            raise StartError(f"worker {worker.index} {_how(code)} before all workers were ready")
        lived = self._clock.monotonic() - worker.started
        delay = self._policy.ended(worker.index, ready=worker.ready, leaving=worker.leaving, lived=lived)
        if self._policy.gives_up(worker.index) and not any(other.ready for other in self._workers.values()):
            raise StartError(f"worker {worker.index} {_how(code)}, as it did at several starts before")
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
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        self._selector.register(self._wakeup, selectors.EVENT_READ, lambda _: self._wakeup.recv(4096))

    def _pause(self) -> float:
        """Seconds until something is due."""
        due = [*self._restarts.values(), *self._questions.deadlines(), self._acceptor.due()]
        if self._stop_by is not None:
            due.append(self._stop_by)
        return max(0.0, min(due) - self._clock.monotonic())

    def _handle_due(self) -> None:
        """Do what signals ask for and what is due."""
        while self._signals:
            self._signal(self._signals.pop(0))
        now = self._clock.monotonic()
        for index in [index for index, due in self._restarts.items() if due <= now]:
            del self._restarts[index]
            try:
                self._start(index)
            except OSError as exc:
                self._restarts[index] = now + FORK_AGAIN
                _LOG.error("a worker cannot be started", extra={"fields": {"worker": index, "error": str(exc)}})
        self._questions.expire()
        if self._stop_by is not None and now >= self._stop_by:
            _LOG.error("workers did not end in time and are killed", extra={"fields": {"workers": len(self._workers)}})
            self._kill()
        self._acceptor.update()

    def _signal(self, number: int) -> None:
        if number == signal.SIGCHLD:
            self._reap()
        elif number == signal.SIGHUP:
            self._send_all("reload")
        elif self._stop_by is None:
            self._restarts.clear()
            self._stop_by = self._clock.monotonic() + self._drain + KILL_GRACE
            self._send_all("drain")
        else:  # a second signal does not wait
            self._send_all("interrupt")

    def _send_all(self, kind: str) -> None:
        for worker in self._workers.values():
            worker.send({"kind": kind})

    def _serving(self) -> Iterator[Worker]:
        """Yield the workers that take connections; while all drain, they answer that they do."""
        for worker in self._workers.values():
            if worker.ready and (self._stop_by is not None or not worker.leaving):
                yield worker

    # Messages

    def _on_message(self, worker: Worker, message: Message) -> None:
        kind = message["kind"]
        if kind == "ready":
            worker.ready = True
            if not self._announced and all(each.ready for each in self._workers.values()):
                self._announced = True
                self._on_start()
        elif kind == "leaving":
            worker.leaving = True
        elif kind == "loaded":
            self._configuration = b64decode(message["configuration"])
        elif kind == "ask":
            self._questions.ask(worker, message, self._workers.values())
        elif kind == "answer":
            self._questions.answer(worker, message)

    def log(self, record: logging.LogRecord) -> None:
        """Let a worker write a line of the log; without one, it goes to standard error."""
        row: dict[str, Any] = {name: getattr(record, name) for name in ("name", "levelno", "levelname", "created")}
        row |= {"msg": record.getMessage(), "fields": getattr(record, "fields", {})}
        for worker in self._workers.values():
            if worker.ready:
                worker.send({"kind": "log", "record": row})
                return
        with suppress(OSError):
            os.write(2, f"{record.levelname.lower()}: {record.getMessage()} {row['fields']}\n".encode())


class _ToWorker(logging.Handler):
    def __init__(self, supervisor: Supervisor) -> None:
        super().__init__()
        self._supervisor = supervisor

    def emit(self, record: logging.LogRecord) -> None:
        self._supervisor.log(record)


def _flush(*streams: IO[str] | None) -> None:
    """Flush streams; one that was closed before the start is `None`, and a full disk is no reason to end."""
    for stream in streams:
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.flush()


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"
