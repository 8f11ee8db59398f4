"""Fixtures for end-to-end tests: a scripted upstream, and the access log of Signalbox."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.support.natives import NativeUpstream
from tests.support.servers import IDLE, RUNNING, Running
from tests.support.upstreams import Upstream, running
from tests.support.waiting import PATIENCE, until


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
def access_log(http: httpx.Client) -> Iterator[AccessLog]:
    """Signalbox's access lines of the test's own calls: those of the tests before it have been settled."""
    for url in RUNNING:
        until(lambda url=url: IDLE in http.get(f"{url}/metrics").text)  # type: ignore[misc]
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
    with running(Upstream()) as found:
        yield found


@pytest.fixture(scope="module")
def module_natives() -> Iterator[NativeUpstream]:
    """The same, one that speaks every dialect."""
    with running(NativeUpstream()) as found:
        yield found


@pytest.fixture(scope="module")
def sdk(box: Running) -> Iterator[openai.OpenAI]:
    """The OpenAI SDK before the module's own `box`; it tries once."""
    with openai.OpenAI(base_url=f"{box.url}/v1", api_key="sb-client", max_retries=0) as client:
        yield client


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """An upstream of the test's own."""
    with running(Upstream()) as found:
        yield found


@pytest.fixture(scope="session")
def http() -> Iterator[httpx.Client]:
    """A plain HTTP client that patiently waits; one for all, since making one is slow."""
    with httpx.Client(timeout=PATIENCE, trust_env=False) as client:
        yield client


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str, object], None]:
    """Report a measurement beside the test's result (`--junit-xml`), in any family of that format."""
    properties: list[tuple[str, object]] = request.node.user_properties
    return lambda name, value: properties.append((name, value))
