"""What the server does to its process."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from proxy.server import GC_THRESHOLD, tune_garbage_collector


@pytest.fixture
def _collector() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@pytest.mark.usefixtures("_collector")
def test_what_start_up_has_made_is_not_searched_again() -> None:
    tune_garbage_collector()

    assert gc.get_freeze_count() > 1000
    assert gc.get_threshold() == GC_THRESHOLD
