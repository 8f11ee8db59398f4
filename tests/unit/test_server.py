"""What the server does to its process."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from proxy.core.body import parse
from proxy.core.errors import InvalidRequest
from proxy.server import GC_THRESHOLD, MAX_DIGITS, _Connections, bind, limit_integers, tune_garbage_collector, url_of


@pytest.fixture
def _restored() -> Iterator[None]:
    before, digits = gc.get_threshold(), sys.get_int_max_str_digits()
    yield
    gc.unfreeze()
    sys.set_int_max_str_digits(digits)
    gc.set_threshold(*before)


@pytest.mark.usefixtures("_restored")
def test_what_start_up_has_made_is_not_searched_again() -> None:
    tune_garbage_collector()

    assert gc.get_freeze_count() > 1000
    assert gc.get_threshold() == GC_THRESHOLD


@pytest.mark.usefixtures("_restored")
def test_integers_that_take_long_to_read_are_refused() -> None:
    limit_integers()

    assert parse(b'{"a":' + b"1" * MAX_DIGITS + b"}").body["a"] > 1
    with pytest.raises(InvalidRequest, match="digits"):
        parse(b'{"a":' + b"1" * (MAX_DIGITS + 1) + b"}")


def test_open_connections_report_their_number() -> None:
    seen: list[int] = []
    connections = _Connections(seen.append)

    connections.add("a")
    connections.add("b")
    connections.discard("a")
    connections.discard("a")

    assert seen == [1, 2, 1, 1]


def test_the_url_of_a_socket_names_its_port() -> None:
    with closing(bind("127.0.0.1", 0)) as listener:
        assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"
