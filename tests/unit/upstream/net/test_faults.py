"""What failed connections are called, and whose fault they are."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import pytest

from proxy.core.errors import Unavailable
from proxy.core.failures import FailureKind
from proxy.upstream.net.faults import connect_failure, lost, raise_if_local

SELF_SIGNED = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
SELF_SIGNED.verify_message = "self-signed certificate"
NOT_TLS = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)")
NOT_TLS.reason = "WRONG_VERSION_NUMBER"


def system_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("error", "cause", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "dns", "could not be resolved (Name or service not known)"),
        (SELF_SIGNED, "tls", "certificate is not trusted: self-signed certificate"),
        (NOT_TLS, "tls", "handshake with the upstream failed (wrong version number)"),
        (ssl.SSLError(), "tls", "handshake with the upstream failed (SSLError)"),
        (system_error(errno.ECONNREFUSED), "refused", "refused the connection"),
        (system_error(errno.ETIMEDOUT), "timeout", "timed out"),
        (TimeoutError(), "timeout", "timed out"),
        (system_error(errno.ECONNRESET), "reset", "reset the connection while it was being made"),
        (ConnectionAbortedError("SSL handshake is taking longer"), "reset", "reset the connection"),
        (system_error(errno.ENETUNREACH), "unreachable", "could not be reached (Network is unreachable)"),
        (system_error(errno.EHOSTUNREACH), "unreachable", "could not be reached (No route to host)"),
        (system_error(errno.EACCES), "connect", "could not be made (Permission denied)"),
        (OSError("secret"), "connect", "could not be made (OSError)"),
    ],
)
def test_failed_connection_names_its_cause(error: OSError, cause: str, words: str) -> None:
    failure = connect_failure(error)

    assert (failure.kind, failure.cause) == (FailureKind.CONNECT, cause)
    assert words in str(failure)
    assert "secret" not in str(failure)


def test_words_of_a_library_are_cut() -> None:
    error = ssl.SSLCertVerificationError(1, "x")
    error.verify_message = "x" * 10_000

    assert len(str(connect_failure(error))) < 300


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_shortage_of_ours_is_not_the_upstreams_fault(number: int) -> None:
    with pytest.raises(Unavailable) as found:
        connect_failure(system_error(number))

    assert found.value.error_code == "overloaded"


def test_shortage_of_ours_is_found_behind_other_errors() -> None:
    outer = RuntimeError("all attempts failed")
    outer.__cause__ = system_error(errno.EMFILE)

    with pytest.raises(Unavailable):
        raise_if_local(outer)
    raise_if_local(RuntimeError("another"))


@pytest.mark.parametrize("began", [False, True])
@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (None, "closed"),
        (system_error(errno.ECONNRESET), "reset"),
        (system_error(errno.ETIMEDOUT), "timeout"),
        (NOT_TLS, "tls"),
    ],
)
def test_lost_connection_names_its_cause(error: Exception | None, cause: str, began: bool) -> None:
    failure = lost(error, began=began, stale=False)

    assert (failure.kind, failure.cause) == (FailureKind.CONNECT, cause)
