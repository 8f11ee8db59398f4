"""Listening: which addresses a socket accepts."""

from __future__ import annotations

import errno
import socket
from contextlib import closing
from typing import Any

import pytest

from proxy import server


def connects(family: socket.AddressFamily, host: str, port: int) -> bool:
    with closing(socket.socket(family, socket.SOCK_STREAM)) as client:
        return client.connect_ex((host, port)) == 0


def has_ipv6() -> bool:
    try:
        with closing(socket.socket(socket.AF_INET6, socket.SOCK_STREAM)) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["::", "[::]"])
def test_the_ipv6_wildcard_accepts_both_families(host: str) -> None:
    with closing(server.bind(host, 0)) as listener:
        listener.listen()
        port = listener.getsockname()[1]

        assert connects(socket.AF_INET6, "::1", port)
        assert connects(socket.AF_INET, "127.0.0.1", port)


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_the_ipv4_wildcard_accepts_ipv4_only() -> None:
    with closing(server.bind("0.0.0.0", 0)) as listener:
        listener.listen()
        port = listener.getsockname()[1]

        assert connects(socket.AF_INET, "127.0.0.1", port)
        assert not connects(socket.AF_INET6, "::1", port)


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, socket.EAI_ADDRFAMILY])
def test_without_ipv6_the_wildcard_accepts_ipv4(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def resolved(host: str, *rest: Any, **more: Any) -> Any:
        if ":" in host:
            raise OSError(number, "no IPv6")
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)

    with closing(server.bind("::", 0)) as listener:
        assert listener.getsockname()[0] == "0.0.0.0"
    with pytest.raises(OSError, match="no IPv6"):
        server.bind("::1", 0)


def test_a_taken_port_is_an_error_on_the_wildcard_too() -> None:
    with closing(server.bind("::", 0)) as listener:
        listener.listen()

        with pytest.raises(OSError, match="in use"):
            server.bind("::", listener.getsockname()[1])
