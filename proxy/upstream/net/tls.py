"""TLS towards upstreams: certificates and names are always verified, and sessions are resumed."""

from __future__ import annotations

import ssl
from collections import OrderedDict
from collections.abc import Mapping

import certifi

MAX_SESSIONS = 256  # names whose last session is kept


class ClientContext(ssl.SSLContext):
    """A client's context that remembers the last session of each server name, and offers it to the next connection.

    The event loop makes its TLS objects by `wrap_bio`, so the session is added there.
    """

    def __init__(self, protocol: int) -> None:  # `SSLContext.__new__` takes it
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
        """Keep the session of a connection to `name` that has served."""
        if session is None:
            return
        self._sessions[name] = session
        self._sessions.move_to_end(name)
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)


class Contexts:
    """One context for each private CA, made when it is first used: loading the public roots takes 20 ms."""

    def __init__(self, roots: str | None = None) -> None:
        self._roots = roots or certifi.where()
        self._contexts: dict[str | None, ClientContext] = {}

    def get(self, ca: str | None) -> ClientContext:
        """The context that trusts the public roots and `ca`, certificates in PEM. Raises `ssl.SSLError`."""
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
    """The file of `SSL_CERT_FILE`, in the place of the built-in roots. Raises `ValueError` if it cannot be used."""
    path = environ.get("SSL_CERT_FILE")
    if not path:
        return None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except OSError as exc:
        reason = (
            "holds no certificates" if isinstance(exc, ssl.SSLError) else (exc.strerror or "unknown reason").lower()
        )
        message = f"the file that the variable SSL_CERT_FILE names cannot be used: {reason}; correct or unset it"
        raise ValueError(message) from None
    return path
