"""Clocks for tests with real sockets, where time must go by for the kernel too, and a loop in which none goes by."""

from __future__ import annotations

import asyncio
import selectors

from proxy.core.clock import SystemClock
from tests.support.fakes import FakeClock


class ShiftedClock(SystemClock):
    """The machine's clock, which a test may set forward: what rests by it is awake at once."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self._ahead

    def time(self) -> float:
        return super().time() + self._ahead

    def pass_(self, seconds: float) -> None:
        """Let time go by."""
        self._ahead += seconds


class StoppedClock(ShiftedClock):
    """The same, standing still in between: what is computed from it is exact."""

    def __init__(self) -> None:
        super().__init__()
        self._monotonic, self._time = SystemClock().monotonic(), SystemClock().time()

    def monotonic(self) -> float:
        return self._monotonic + self._ahead

    def time(self) -> float:
        return self._time + self._ahead


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time goes by only when all who run wait for it: hours pass at once, and always alike.

    Use it with `VirtualClock`, by `anyio_backend = VIRTUAL` in the test's module, where nothing comes from outside.
    """

    def __init__(self) -> None:
        self._ahead = 0.0
        super().__init__(_NoWait(self))

    def time(self) -> float:
        return 1000.0 + self._ahead

    def skip(self, seconds: float) -> None:
        """Let time go by."""
        self._ahead += seconds


class _NoWait(selectors.DefaultSelector):
    """Does not wait: it tells the loop that it has."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everybody waits for something that will never come")
        self._loop.skip(max(0.0, timeout))
        return super().select(0)


VIRTUAL = ("asyncio", {"loop_factory": VirtualLoop})


class VirtualClock(FakeClock):
    """The virtual loop's time: also what `asyncio.timeout` and `asyncio.sleep` go by."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    @property
    def now(self) -> float:  # type: ignore[override]
        return asyncio.get_running_loop().time()

    def pass_(self, seconds: float) -> None:
        """Let time go by at once, as if everybody had been busy."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.skip(seconds)

    async def elapse(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(seconds)

    async def wait_for(self, event: asyncio.Event, seconds: float) -> bool:
        return await SystemClock().wait_for(event, seconds)
