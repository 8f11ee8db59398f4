"""DNS resolver: one look-up at a time for each host name, in its own thread.

`getaddrinfo` cannot be cancelled and may hang for half a minute. In a shared thread pool, a few such names would block
the look-ups for all other providers. So each look-up has its own daemon thread, at most `MAX_LOOKUPS` at a time.
Callers share a running look-up, and its result for `LIFETIME` seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

LIFETIME = 10.0  # seconds; connections are pooled, so look-ups are rare, and a DNS failover must take effect soon
MAX_LOOKUPS = 64
MAX_NAMES = 1024  # names with a cached result


@dataclass(frozen=True, slots=True)
class Address:
    """A socket family and an address for `connect`."""

    family: int
    where: tuple[Any, ...]


Lookup = Callable[[str], Sequence[Address]]


@dataclass(eq=False, slots=True)
class _Flight:
    """A running look-up, or its result."""

    done: asyncio.Event = field(default_factory=asyncio.Event)
    addresses: Sequence[Address] = ()
    error: OSError | None = None
    expires: float = 0.0  # on the loop's clock


class Resolver:
    """One instance serves all origins of an event loop; `lookup` blocks and raises `OSError`."""

    def __init__(self, lookup: Lookup | None = None) -> None:
        self._lookup = lookup or system_lookup
        self._flights: dict[str, _Flight] = {}

    async def addresses(self, host: str, port: int) -> list[Address]:
        """Return all addresses of `host`, in the system's order. Raises `socket.gaierror`."""
        if (literal := literal_address(host)) is not None:
            return [_at(literal, port)]
        flight = self._flights.get(host)
        now = asyncio.get_running_loop().time()
        if flight is None or (flight.done.is_set() and flight.expires <= now):
            flight = self._start(host)
        await flight.done.wait()
        if flight.error is not None:
            raise flight.error.with_traceback(None)
        return [_at(address, port) for address in flight.addresses]

    def forget(self, host: str) -> None:
        """Discard the cached addresses of `host`, because none of them accepted a connection."""
        flight = self._flights.get(host)
        if flight is not None and flight.done.is_set():
            del self._flights[host]

    def _start(self, host: str) -> _Flight:
        running = sum(not flight.done.is_set() for flight in self._flights.values())
        if running >= MAX_LOOKUPS:
            raise socket.gaierror(socket.EAI_AGAIN, "too many concurrent look-ups")
        if len(self._flights) >= MAX_NAMES:
            self._flights = {name: flight for name, flight in self._flights.items() if not flight.done.is_set()}
        flight, loop = _Flight(), asyncio.get_running_loop()
        thread = threading.Thread(target=self._run, args=(host, flight, loop), name=f"dns-{host}"[:15], daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the limit of threads is reached
            raise socket.gaierror(socket.EAI_AGAIN, "no thread is available for the look-up") from None
        self._flights[host] = flight
        return flight

    def _run(self, host: str, flight: _Flight, loop: asyncio.AbstractEventLoop) -> None:
        addresses: Sequence[Address] = ()
        error: OSError | None = None
        try:
            addresses = self._lookup(host)
        except OSError as exc:
            error = exc
        except ValueError:  # also `UnicodeError`
            error = socket.gaierror(socket.EAI_NONAME, "the name is not valid")
        if not addresses and error is None:
            error = socket.gaierror(socket.EAI_NONAME, "the name has no address")
        with contextlib.suppress(RuntimeError):  # the event loop is closed
            loop.call_soon_threadsafe(self._land, host, flight, addresses, error)

    def _land(self, host: str, flight: _Flight, addresses: Sequence[Address], error: OSError | None) -> None:
        flight.addresses, flight.error = addresses, error
        flight.expires = asyncio.get_running_loop().time() + LIFETIME
        if error is not None and self._flights.get(host) is flight:
            del self._flights[host]  # a failure is shared by the waiting callers, but not cached
        flight.done.set()


def system_lookup(host: str) -> list[Address]:
    """Return the addresses from the system's resolver. Raises `socket.gaierror`."""
    entries = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(Address(family, where) for family, _, _, _, where in entries))


def literal_address(host: str) -> Address | None:
    """Return the address if `host` is an IP address, else None."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv4Address):
        return Address(socket.AF_INET, (str(ip), 0))
    scope = int(ip.scope_id) if ip.scope_id and ip.scope_id.isdigit() else 0
    return Address(socket.AF_INET6, (str(ip).partition("%")[0], 0, 0, scope))


def _at(address: Address, port: int) -> Address:
    return Address(address.family, (address.where[0], port, *address.where[2:]))
