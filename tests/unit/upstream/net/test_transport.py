"""What the answers of upstreams say about their connections."""

from __future__ import annotations

import pytest

from proxy.upstream.net.transport import keep_alive_of


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("timeout=5", 5.0),
        ("timeout=5, max=100", 5.0),
        ("max=100, Timeout = 7", 7.0),
        ("max=100", None),
        ("timeout=", None),
        ("timeout=" + "9" * 50, None),
        ("xtimeout=5", None),
    ],
)
def test_keep_alive_hint_is_read(value: str, seconds: float | None) -> None:
    assert keep_alive_of(value) == seconds
