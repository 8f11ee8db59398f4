"""Fixtures for end-to-end tests: a scripted upstream, and what Signalbox says of each call."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.upstreams import PATIENCE, Upstream
from tests.upstreams import upstream as running_upstream


class AccessLog(logging.Handler):
    """The access lines of a Signalbox in this process, one a call."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.put(record.__dict__["fields"])

    def next(self) -> dict[str, Any]:
        """The next line, waited for: a call is settled a moment after its answer's end."""
        return self._lines.get(timeout=PATIENCE)

    @property
    def empty(self) -> bool:
        """No call has been settled but those already taken."""
        return self._lines.empty()

    def clear(self) -> None:
        """Forget what is there."""
        while not self._lines.empty():
            self._lines.get_nowait()


@pytest.fixture
def access_log() -> Iterator[AccessLog]:
    """Signalbox's access lines while the test runs."""
    handler, logger = AccessLog(), logging.getLogger("proxy.access")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(before)


@pytest.fixture(scope="module")
def module_upstream() -> Iterator[Upstream]:
    """One upstream for a module; its tests clear it."""
    with running_upstream() as found:
        yield found


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """An upstream of the test's own."""
    with running_upstream() as found:
        yield found


@pytest.fixture(scope="session")
def http() -> Iterator[httpx.Client]:
    """A plain HTTP client that patiently waits; one for all, since making one is slow."""
    with httpx.Client(timeout=PATIENCE, trust_env=False) as client:
        yield client


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str, object], None]:
    """Tell of a measurement beside the test's result (`--junit-xml`), in any family of that format."""
    properties: list[tuple[str, object]] = request.node.user_properties
    return lambda name, value: properties.append((name, value))
