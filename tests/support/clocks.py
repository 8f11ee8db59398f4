"""Two clocks beside `FakeClock`: one for real servers in a thread, and one for an event loop without real time."""

from __future__ import annotations

import asyncio
import selectors
import threading

from proxy.core.clock import SystemClock
from tests.support.fakes import FakeClock
from tests.support.waiting import PATIENCE


class ServerClock(SystemClock):
    """The clock of a server in a thread: it stands still until a test moves it, together with the loop's timers.

    What is computed from it is exact. Timers of the event loop (timeouts, the queue, the prober) also go by real time.
    Move it only while no request is on its way in and no connection is being made: their timeouts move with it. Use
    no kept connections (`boxes.patient_client`): it may pass the end of their time.
    """

    def __init__(self) -> None:
        self._ahead = 0.0
        self._monotonic, self._time = SystemClock().monotonic(), SystemClock().time()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._attached = threading.Event()

    def monotonic(self) -> float:
        return self._monotonic + self._ahead

    def time(self) -> float:
        return self._time + self._ahead

    async def sleep(self, seconds: float) -> None:
        self._attach(asyncio.get_running_loop())
        await super().sleep(seconds)

    async def wait_for(self, event: asyncio.Event, seconds: float) -> bool:
        self._attach(asyncio.get_running_loop())
        return await super().wait_for(event, seconds)

    def pass_(self, seconds: float) -> None:
        """Let time go by; the loop is about to run the timers that have ended when this returns."""
        assert self._attached.wait(PATIENCE), "nothing has ever waited by this clock"
        assert self._loop is not None
        self._ahead += seconds
        if not self._loop.is_closed():  # it is between two servers
            self._loop.call_soon_threadsafe(_wake_up)

    def _attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the server's loop go by this clock from now on; a server waits by it as soon as it runs."""
        if self._loop is not loop:
            real, before = loop.time, self._ahead
            loop.time = lambda: real() + self._ahead - before  # type: ignore[method-assign]
            self._loop = loop
            self._attached.set()


def _wake_up() -> None:
    """Nothing to do: the call alone makes a loop look for timers that have ended."""


START = 1000.0  # the time at which a virtual loop begins


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time goes by only when all tasks wait for it: hours pass at once, and deterministically.

    Use it with `VirtualClock`, by marking a test with `virtual_time`, in tests without sockets, threads or
    processes.
    """

    def __init__(self) -> None:
        self._ahead = 0.0
        self._idle: list[asyncio.Future[None]] = []
        super().__init__(_NoWait(self))

    def time(self) -> float:
        return START + self._ahead

    async def idle(self) -> None:
        """Let all other tasks run until each of them waits for time to go by, or for ever."""
        self._idle.append(self.create_future())
        await self._idle[-1]

    def is_idle(self) -> bool:
        """Wake the tasks that wait in `idle`; return whether there were none."""
        waiting, self._idle = self._idle, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
        return not waiting

    def skip(self, seconds: float) -> None:
        """Let time go by."""
        self._ahead += seconds


class _NoWait(selectors.DefaultSelector):
    """A selector that moves the time of its loop instead of waiting."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout == 0 or not self._loop.is_idle():
            return super().select(0)
        if timeout is None:
            raise RuntimeError("all tasks wait, and nothing can wake them")
        self._loop.skip(timeout)
        return super().select(0)


VIRTUAL = ("asyncio", {"loop_factory": VirtualLoop})


class VirtualClock(FakeClock):
    """The virtual loop's time: also what `asyncio.timeout` and `asyncio.sleep` go by."""

    def __init__(self, start: float = START) -> None:
        self.slept: list[float] = []
        self.waits = 0  # how many calls of `wait_for` are running
        self._start = start

    @property
    def now(self) -> float:  # type: ignore[override]
        return self._start + asyncio.get_running_loop().time() - START

    def pass_(self, seconds: float) -> None:
        """Let time go by at once, as if the process had been busy."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.skip(seconds)

    async def elapse(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def advance(self, seconds: float) -> None:
        """Let time go by and all other tasks run, also those that are due in the end."""
        await asyncio.sleep(seconds)
        await idle()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(seconds)

    async def wait_for(self, event: asyncio.Event, seconds: float) -> bool:
        self.waits += 1
        try:
            # a timer that asyncio calls due within its resolution would not move the time
            return await SystemClock().wait_for(event, max(seconds, 2e-9) if seconds > 0 else seconds)
        finally:
            self.waits -= 1


async def idle() -> None:
    """Let all other tasks of a `VirtualLoop` run until they wait."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    await loop.idle()
