"""TLS contexts for upstream connections. Certificates and host names are always verified; sessions are resumed."""

from __future__ import annotations

import ssl
from collections import OrderedDict
from collections.abc import Mapping

import certifi

MAX_SESSIONS = 256  # host names with a stored session


class ClientContext(ssl.SSLContext):
    """A client context that stores the last session of each host name and resumes it in the next connection.

    The event loop creates TLS objects with `wrap_bio`, so the session is set there.
    """

    def __init__(self, protocol: int) -> None:  # used by `SSLContext.__new__`
        self._sessions: OrderedDict[str, ssl.SSLSession] = OrderedDict()

    def wrap_bio(  # type: ignore[override]
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        session = session or self._sessions.get(server_hostname or "")
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)

    def remember(self, name: str, session: ssl.SSLSession | None) -> None:
        """Store the session of a connection to `name`."""
        if session is None:
            return
        self._sessions[name] = session
        self._sessions.move_to_end(name)
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)


class Contexts:
    """Contexts by private CA, created on first use, because loading the public roots takes 20 ms."""

    def __init__(self, roots: str | None = None) -> None:
        self._roots = roots or certifi.where()
        self._contexts: dict[str | None, ClientContext] = {}

    def get(self, ca: str | None) -> ClientContext:
        """Return the context that trusts the public roots and `ca` (certificates in PEM). Raises `ssl.SSLError`."""
        context = self._contexts.get(ca)
        if context is None:
            context = self._contexts[ca] = _context(self._roots, ca)
        return context


def _context(roots: str, ca: str | None) -> ClientContext:
    context = ClientContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_verify_locations(cafile=roots)
    if ca is not None:
        context.load_verify_locations(cadata=ca)
    return context


def public_roots(environ: Mapping[str, str]) -> str | None:
    """Return the path in `SSL_CERT_FILE`, which replaces the built-in roots. Raises `ValueError` if it is invalid."""
    path = environ.get("SSL_CERT_FILE")
    if not path:
        return None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except OSError as exc:
        reason = (
            "it contains no certificates"
            if isinstance(exc, ssl.SSLError)
            else (exc.strerror or "unknown reason").lower()
        )
        message = f"the file in SSL_CERT_FILE cannot be used: {reason}; correct or unset the variable"
        raise ValueError(message) from None
    return path
