"""Failures of connections as `UpstreamFailure`, with a cause. Messages contain no URL, credential or key."""

from __future__ import annotations

import errno
import socket
import ssl

from proxy.core.errors import Unavailable
from proxy.core.failures import FailureKind, UpstreamFailure

_LOCAL_LIMITS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN)
_LONGEST = 200  # characters of a library's message


def connect_failure(error: OSError) -> UpstreamFailure:
    """Return the failure for `error`. Raises `Unavailable` if this process has no descriptors or memory left."""
    raise_if_local(error)
    cause, words = _connect_words(error)
    return UpstreamFailure(FailureKind.CONNECT, words, cause=cause)


def lost(error: Exception | None, *, began: bool, stale: bool) -> UpstreamFailure:
    """Return the failure for a connection that ended before its answer; `error` is None if the upstream closed it.

    `began`: a byte of the answer was received. `stale`: the connection had completed an earlier exchange; if it ended
    before a byte of this answer, the upstream has most likely not processed the request.
    """
    if stale and not began and (error is None or isinstance(error, ConnectionError)):
        return UpstreamFailure(FailureKind.STALE_CONNECTION, "the pooled connection was closed", cause="closed")
    if error is None:
        return broken_off(began=began)
    if isinstance(error, ssl.SSLError):
        words = f"the TLS connection to the upstream broke ({_tls_words(error)})"
        return UpstreamFailure(FailureKind.CONNECT, words, cause="tls")
    if isinstance(error, ConnectionError):
        return UpstreamFailure(FailureKind.CONNECT, "the upstream reset the connection", cause="reset")
    words = f"the connection to the upstream failed ({_system_words(error)})"
    return UpstreamFailure(FailureKind.CONNECT, words, cause="timeout" if isinstance(error, TimeoutError) else "closed")


def broken_off(*, began: bool) -> UpstreamFailure:
    """Return the failure for a connection that the upstream closed too early."""
    words = "the upstream broke off its answer" if began else "the upstream closed the connection without an answer"
    return UpstreamFailure(FailureKind.CONNECT, words, cause="closed")


def not_http(reason: str) -> UpstreamFailure:
    """Return the failure for an answer that is not valid HTTP, or exceeds a limit."""
    words = f"the upstream's answer is not valid HTTP: {reason[:_LONGEST]}"
    return UpstreamFailure(FailureKind.CONNECT, words, cause="protocol")


def raise_if_local(error: BaseException | None) -> None:
    """Raise `Unavailable` if this process is out of descriptors or memory, which is not a failure of the upstream."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _LOCAL_LIMITS:
            raise Unavailable("The server has no free descriptors.", code="overloaded", retry_after=1.0) from error
        error = error.__cause__ or error.__context__


def _connect_words(error: OSError) -> tuple[str, str]:
    match error:
        case socket.gaierror():
            return "dns", f"the upstream's host name could not be resolved ({_system_words(error)})"
        case ssl.SSLCertVerificationError():
            return "tls", f"the upstream's certificate is not trusted: {error.verify_message[:_LONGEST]}"
        case ssl.SSLError():
            return "tls", f"the TLS handshake with the upstream failed ({_tls_words(error)})"
        case ConnectionRefusedError():
            return "refused", "the upstream refused the connection"
        case TimeoutError():
            return "timeout", "the connection to the upstream timed out"
        case ConnectionError():
            return "reset", "the upstream reset the connection while it was being made"
        case _ if error.errno in _NO_ROUTE:
            return "unreachable", f"the upstream could not be reached ({_system_words(error)})"
    return "connect", f"the connection to the upstream could not be made ({_system_words(error)})"


def _tls_words(error: ssl.SSLError) -> str:
    reason = getattr(error, "reason", None)
    return reason.replace("_", " ").lower()[:_LONGEST] if reason else type(error).__name__


def _system_words(error: Exception) -> str:
    words = getattr(error, "strerror", None)
    return str(words)[:_LONGEST] if words else type(error).__name__
