"""Fixtures for all tests, and the rule that nothing leaves this machine."""

from __future__ import annotations

import ipaddress
import os
import socket
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support.certificates import certificates as certificates
from tests.support.clocks import VIRTUAL
from tests.support.databases import database as database
from tests.support.databases import postgres as postgres
from tests.support.databases import postgres_database as postgres_database
from tests.support.databases import postgres_url as postgres_url
from tests.support.databases import sqlite_url as sqlite_url
from tests.support.databases import store_url as store_url

_connect = socket.socket.connect

# How long a case takes says more of the machine than of us. What a developer's run finds by chance becomes a test of
# its own; CI draws the same cases each time.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("unhurried"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "unhurried")


@pytest.fixture(scope="session", autouse=True)
def only_loopback() -> Any:
    """Any connection beyond loopback is a fault of the test."""

    def connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not ipaddress.ip_address(address[0]).is_loopback:
            raise AssertionError(f"a test tried to reach {address[0]}")
        _connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        yield


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """The event loop of async tests: asyncio's own, in virtual time for tests marked with `virtual_time`."""
    return VIRTUAL if request.node.get_closest_marker("virtual_time") else "asyncio"
