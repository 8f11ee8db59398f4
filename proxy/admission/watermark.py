"""The memory watermark: rejects new calls before the kernel kills the process for its memory.

A timer reads the memory in use and closes the gate above the watermark, so a call pays nothing for it. Calls in flight
continue. The gate opens again below `RESUME` of the watermark; and when no call is in flight, because then rejecting
calls frees nothing, and memory that never returns to the system would stop the service for good.

Large bodies are weighed one by one, because a few of them can fill a container between two readings.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import suppress

from proxy.admission.gate import Gate
from proxy.admission.memory import Memory, Reading
from proxy.core.clock import Clock
from proxy.core.errors import Unavailable
from proxy.observe.exposition import Family

RESUME = 0.95  # of the watermark
NEAR = 0.75  # of the watermark; above, memory is read more often
EVERY, OFTEN = 0.25, 0.05  # seconds between two readings, far from the watermark and near it
RELIEVE = 5.0  # seconds between two attempts to free memory
LARGE = 1024 * 1024  # bytes; smaller bodies are not weighed
COPIES = 5  # of a body, which a call can hold: the bytes, their text, the text's values, the upstream's request

_LOG = logging.getLogger(__name__)


class Watermark:
    """Watches `memory` and sheds load at `gate`; `relieve` returns unused memory to the system, in a thread."""

    def __init__(self, memory: Memory, gate: Gate, clock: Clock, relieve: Callable[[], None] | None = None) -> None:
        self._memory = memory
        self._gate = gate
        self._clock = clock
        self._relieve = relieve or free_memory
        self._relieved = -math.inf
        self._wanted = False  # a body was rejected, so freeing memory may help
        self._expected = 0  # bytes set aside for bodies that are being read
        self.last: Reading | None = None

    async def run(self) -> None:
        """Watch until cancelled, or until the memory in use cannot be read on this system."""
        while True:
            try:
                reading = self.last = self._memory.read()
            except (OSError, ValueError) as exc:
                self._gate.shed(on=False)
                if isinstance(exc, OSError) and exc.errno in (errno.EMFILE, errno.ENFILE):  # no descriptor is free now
                    await self._clock.sleep(OFTEN)
                    continue
                _LOG.warning("memory in use cannot be read; it is not watched", extra={"fields": {"error": str(exc)}})
                return
            self._judge(reading)
            if (self._gate.shedding or self._wanted) and self._clock.monotonic() - self._relieved >= RELIEVE:
                self._relieved, self._wanted = self._clock.monotonic(), False
                await asyncio.to_thread(self._relieve)
            await self._clock.sleep(EVERY if reading.used < NEAR * reading.watermark else OFTEN)

    def set_aside(self, size: int) -> int:
        """Set memory aside for `size` more bytes of a body, and return how much; `give_back` it once it is read.

        Raises `Unavailable` if there is not enough below the watermark.
        """
        need = COPIES * size
        with suppress(OSError, ValueError):
            reading = self._memory.read()
            if reading.used + self._expected + need > reading.watermark:
                self._wanted = True
                message = "The server is short of memory for a body of this size (`server.memory_watermark`)"
                raise Unavailable(f"{message}; try again shortly.", code="overloaded", retry_after=2.0)
        self._expected += need
        return need

    def give_back(self, amount: int) -> None:
        """Give back what `set_aside` returned: the body is in memory, so readings include it, or it was not read."""
        self._expected -= amount

    def _judge(self, reading: Reading) -> None:
        gate, (used, watermark) = self._gate, reading
        fields = {"used": used, "watermark": watermark, "in_flight": gate.inside}
        if not gate.shedding:
            if used > watermark and gate.inside:
                gate.shed(on=True)
                _LOG.warning("memory is above the watermark; rejecting new calls", extra={"fields": fields})
        elif used < RESUME * watermark or not gate.inside:
            gate.shed(on=False)
            _LOG.info("accepting calls again", extra={"fields": fields})


class BodyMemory:
    """The memory that is set aside for one body while it is read."""

    __slots__ = ("_amount", "_watermark", "covered")

    def __init__(self, watermark: Watermark | None) -> None:
        self._watermark = watermark
        self._amount = 0
        self.covered: float = math.inf if watermark is None else LARGE  # the size up to which there is memory

    def cover(self, size: int) -> None:
        """Set memory aside for a body of `size` bytes. Raises `Unavailable` if there is not enough."""
        if size > self.covered and self._watermark is not None:
            known = 0 if self._amount == 0 else int(self.covered)
            self._amount += self._watermark.set_aside(size - known)
            self.covered = size

    def release(self) -> None:
        """Give the memory back."""
        if self._watermark is not None:
            self._watermark.give_back(self._amount)
            self._amount = 0


def memory_families(watermark: Watermark, gate: Gate) -> Iterator[Family]:
    """Yield the memory in use, the watermark, and whether calls are rejected."""
    reading = watermark.last
    if reading is None:
        return
    values = (
        ("signalbox_memory_used_bytes", "Memory in use, as compared with the watermark.", reading.used),
        ("signalbox_memory_watermark_bytes", "Memory use above which new calls are rejected.", reading.watermark),
        ("signalbox_memory_shedding", "1 while new calls are rejected for memory.", gate.shedding),
    )
    for name, text, value in values:
        yield Family(name, "gauge", text, {name: float(value)}, "max")


def free_memory() -> None:
    """Collect cycles, and return free memory to the system where the C library can."""
    import ctypes  # only here: few processes ever need it

    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
