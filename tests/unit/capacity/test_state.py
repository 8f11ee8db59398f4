"""The choice of the store for limits."""

from __future__ import annotations

import subprocess
import sys

import pytest

from proxy.capacity.memory import MemoryCounters
from proxy.capacity.redis.counters import RedisCounters
from proxy.capacity.redis.fallback import FallbackCounters
from proxy.capacity.state import build_state
from proxy.core.clock import SystemClock


def test_limits_in_memory_need_no_service() -> None:
    state = build_state("memory", SystemClock(), fail_open=True)

    assert isinstance(state.counters, MemoryCounters)
    assert state.memory is state.counters
    assert state.services == ()
    assert not state.is_degraded()


@pytest.mark.parametrize(("fail_open", "kind"), [(True, FallbackCounters), (False, RedisCounters)])
def test_the_policy_chooses_what_counts_during_an_outage(fail_open: bool, kind: type) -> None:
    state = build_state("redis://127.0.0.1:1/0", SystemClock(), fail_open=fail_open)

    assert type(state.counters) is kind
    assert state.is_degraded()  # it has not connected yet
    assert state.memory is None  # the state file must not save them
    assert state.services == (state.client, state.redis)


def test_the_library_is_not_imported_without_a_shared_state() -> None:
    code = "import sys, proxy.app, proxy.capacity.state as s; from proxy.core.clock import SystemClock"
    code += "; s.build_state('memory', SystemClock(), fail_open=True); sys.exit('redis' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
