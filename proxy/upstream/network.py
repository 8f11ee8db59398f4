"""The transport to the real network, with the certificates and proxies of the environment."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.core.model import EMPTY
from proxy.upstream.environment import EnvironmentProxy
from proxy.upstream.net.tls import Contexts, public_roots
from proxy.upstream.net.transport import NetTransport


class Network(NetTransport):
    """`environ` may hold `SSL_CERT_FILE`, `HTTPS_PROXY` and `NO_PROXY`. Raises `ValueError` if one cannot be used."""

    def __init__(self, environ: Mapping[str, str] = EMPTY) -> None:
        super().__init__(Contexts(public_roots(environ)), environment=EnvironmentProxy(environ))
