"""The server process: uvicorn with uvloop and httptools, signal handling, and graceful shutdown.

On SIGTERM or SIGINT the server rejects new calls and reports that it is not ready, while running calls finish for at
most `drain` seconds; streams that remain end with an error event. The exit code is 0. A second signal ends the drain
at once. SIGHUP reloads the configuration.

A worker of several (`proxy/workers`) does not listen: it gets its connections and commands from its supervisor.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import pickle
import resource
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import uvicorn
import uvloop

from proxy.admission.gate import Gate
from proxy.app import Parts, Service, build
from proxy.config.compile.auth import process_key
from proxy.config.loaded import Loaded
from proxy.core.clock import SystemClock
from proxy.core.process import ServerPolicy
from proxy.http.protocol import protocol_class
from proxy.settle.log import logging_to, output_lock, standard_output

if TYPE_CHECKING:  # one process needs no workers
    from proxy.workers.member import Member

_LOG = logging.getLogger(__name__)
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, socket.EAI_ADDRFAMILY, socket.EAI_NONAME)
GC_THRESHOLD = (50_000, 20, 100)  # measured by `tests/load/streams.py`
MAX_DIGITS = 640  # the smallest limit that Python accepts
INTERRUPT_GRACE = 2.0  # seconds that interrupted streams have to send their error event


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which would cut streams and exit with the signal's code."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.on_start: Callable[[], None] = lambda: None  # called once connections are served
        logging.getLogger("uvicorn").setLevel(logging.WARNING)  # `on_start` reports the start

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        gc.disable()  # the imports of a store create many objects, and all of them stay
        try:
            await super().startup(sockets)
        finally:
            gc.enable()
        if self.started:
            tune_garbage_collector()
            limit_integers()
            self.on_start()

    def count_connections(self, changed: Callable[[int], None]) -> None:
        """Call `changed` with the number of open connections at each change."""
        self.server_state.connections = _Connections(changed)

    async def take(self, connection: socket.socket) -> None:
        """Serve a connection that another process has accepted."""
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        except OSError:  # the client has gone already
            connection.close()

    def _protocol(self) -> asyncio.Protocol:
        create: Any = self.config.http_protocol_class
        made: asyncio.Protocol = create(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made


class _Connections(set[Any]):
    """The open connections, which report their number."""

    def __init__(self, changed: Callable[[int], None]) -> None:
        super().__init__()
        self._changed = changed

    def add(self, connection: Any) -> None:
        super().add(connection)
        self._changed(len(self))

    def discard(self, connection: Any) -> None:
        super().discard(connection)
        self._changed(len(self))


def url_of(listener: socket.socket) -> str:
    """Return the URL of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def tune_garbage_collector() -> None:
    """Collect cycles less often than by default, and exclude the objects created during start-up.

    Each stream consists of about a hundred objects. At the default thresholds the collector scans thousands of live
    objects repeatedly and finds few cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)


def limit_integers() -> None:
    """Limit the digits of integers, because parsing time grows with the square of their length."""
    sys.set_int_max_str_digits(MAX_DIGITS)


def raise_descriptor_limit() -> None:
    """Raise the limit of open files to the system's maximum: every call needs two sockets."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def bind(host: str, port: int) -> socket.socket:
    """Return a bound socket. Raises `OSError` if the address is in use or not local.

    `::` accepts IPv6 and IPv4 connections; on a system without IPv6 it accepts IPv4 only.
    """
    host = host.strip("[]")
    try:
        return _bound(host, port)
    except OSError as exc:
        if host != "::" or exc.errno not in _NO_IPV6:
            raise
        return _bound("0.0.0.0", port)


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host.encode() if host.isascii() else host,  # as bytes: a text would import the tables of IDNA, 1 MiB
        port,
        type=socket.SOCK_STREAM,
        flags=socket.AI_PASSIVE,
    )[0]
    listener = socket.socket(family, kind, protocol)  # asyncio sets TCP_NODELAY only if the protocol is given
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if host == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def serve_alone(loaded: Loaded, listener: socket.socket, host: str, on_start: Callable[[], None]) -> None:
    """Serve in this process until a signal ends it. Raises `ConfigError`."""
    with logging_to(standard_output()) as log:
        service = build(loaded, os.environ, Parts(write_access=log.write), host=host)
        uvloop.run(serve(service, listener, loaded.process.server, on_start))


def serve_with_workers(loaded: Loaded, listener: socket.socket, host: str, on_start: Callable[[], None]) -> None:
    """Serve in `loaded.workers` processes until a signal ends them. Raises `StartError` if they do not start."""
    from proxy.workers.supervisor import Supervisor

    lock = output_lock()

    def work(member: Member) -> None:
        with logging_to(standard_output(lock)) as log:
            service = build(loaded, os.environ, Parts(write_access=log.write), host=host, member=member)
            if member.restarted:
                last = member.configuration
                service.refresh(None if last is None else pickle.loads(last))
            uvloop.run(serve(service, member, loaded.process.server))

    clock, drain = SystemClock(), loaded.process.server.drain
    process_key()  # the workers inherit it
    gc.collect()
    gc.freeze()  # workers share the memory of what exists before they are forked
    Supervisor(listener, loaded.workers, work, clock=clock, drain=drain, on_start=on_start).run()


async def serve(
    service: Service,
    connections: socket.socket | Member,
    settings: ServerPolicy,
    on_start: Callable[[], None] = lambda: None,
) -> None:
    """Serve the connections of a bound socket, or those that a worker gets, until a signal or a command ends it.

    Calls `on_start` once connections are served.
    """
    config = uvicorn.Config(
        service.asgi,
        loop="none",
        http=protocol_class(settings.header_timeout, settings.write_stall),
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=max(1, round(settings.keep_alive)),
        timeout_graceful_shutdown=INTERRUPT_GRACE,  # type: ignore[arg-type]
    )
    leaving = asyncio.Event()
    server = _Server(config)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_drain(service.gate, server, leaving, settings.drain))]
        sockets = [connections] if isinstance(connections, socket.socket) else []
        if isinstance(connections, socket.socket):
            _handle_signals(service, server, leaving)
            server.on_start = on_start
        else:
            _follow_supervisor(connections, service, server, leaving)
            server.count_connections(connections.count)
            server.on_start = partial(_attach, connections, server, lambda work: tasks.append(group.create_task(work)))
        await server.serve(sockets)
        for task in tasks:
            task.cancel()
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP,))  # the event loop removes the handler when it closes


def _handle_signals(service: Service, server: uvicorn.Server, leaving: asyncio.Event) -> None:
    def leave() -> None:
        if leaving.is_set():  # a second signal does not wait
            _interrupt(service, server)
        leaving.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave)
    _reload_on_hangup(service)


def _reload_on_hangup(service: Service) -> None:
    """Reload on SIGHUP, which was blocked until now."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, service.reload)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGHUP,))


def _attach(member: Member, server: _Server, start: Callable[[Coroutine[Any, Any, None]], Any]) -> None:
    start(member.run(server.take))


def _interrupt(service: Service, server: uvicorn.Server) -> None:
    service.gate.interrupt()
    server.should_exit = True


def _follow_supervisor(member: Member, service: Service, server: uvicorn.Server, leaving: asyncio.Event) -> None:
    """Follow the supervisor's commands. A signal to this process alone ends it alone, and is never taken for two.

    Service managers send SIGTERM to every process of a service, in addition to the supervisor's command.
    """

    def leave() -> None:
        member.leave()
        leaving.set()

    member.commands = {"drain": leave, "interrupt": partial(_interrupt, service, server), "reload": service.reload}
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, leave)
    _reload_on_hangup(service)


async def _drain(gate: Gate, server: uvicorn.Server, leaving: asyncio.Event, seconds: float) -> None:
    await leaving.wait()
    gate.close()
    _LOG.info("draining", extra={"fields": {"in_flight": gate.inside, "seconds": seconds}})
    if not await gate.emptied(seconds):
        _LOG.warning("calls are interrupted", extra={"fields": {"in_flight": gate.inside}})
        gate.interrupt()
        await gate.emptied(INTERRUPT_GRACE)
    server.should_exit = True
