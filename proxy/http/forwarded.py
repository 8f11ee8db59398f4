"""Forwarded headers of reverse proxies, used only from the addresses in `server.trusted_proxies`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_network

from starlette.types import Scope

from proxy.admission.credentials import joined
from proxy.http.browsers import address_of

Client = tuple[str, int]  # address and port

_MOST_KNOWN = 1000  # addresses
_SCHEMES = ("http", "https")


class Forwarded:
    """Reads `x-forwarded-for`, `x-forwarded-proto` and `x-forwarded-host`."""

    def __init__(self, proxies: Iterable[str]) -> None:
        self._networks = [ip_network(proxy, strict=False) for proxy in proxies]
        self._known: dict[str, bool] = {}  # whether addresses are trusted

    def seen(self, client: Client | None, headers: Mapping[str, str]) -> tuple[Client | None, str | None]:
        """Return the client and the host of a request; `headers` have lower-case names, repeated ones joined."""
        host = headers.get("host")
        if client is None or not self._trusts(client[0]):
            return client, host
        address = self._client(headers.get("x-forwarded-for", "").split(","))
        if host is not None:
            host = _last(headers, "x-forwarded-host") or host
        return (address, 0) if address else client, host

    def apply(self, scope: Scope) -> Scope:
        """Return the scope with the forwarded client, scheme and host, if a trusted proxy sent the request."""
        client = scope.get("client")
        if client is None or not self._trusts(client[0]):
            return scope
        headers, changed = joined(scope["headers"]), dict(scope)
        changed["client"], _ = self.seen(client, headers)
        scheme = _last(headers, "x-forwarded-proto").lower()
        if scheme in _SCHEMES:
            changed["scheme"] = scheme
        if host := _last(headers, "x-forwarded-host"):
            replaced = (b"host", host.encode("latin-1"))
            changed["headers"] = [replaced if name == b"host" else (name, value) for name, value in scope["headers"]]
        return changed

    def _client(self, addresses: list[str]) -> str | None:
        """Return the last address that is not a trusted proxy: each proxy appends the address of its client."""
        for address in map(str.strip, reversed(addresses)):
            if not self._trusts(address):
                return address if address_of(address) else None
        return None

    def _trusts(self, text: str) -> bool:
        trusted = self._known.get(text)
        if trusted is None:
            address = address_of(text)
            trusted = address is not None and any(address in network for network in self._networks)
            if len(self._known) < _MOST_KNOWN and address is not None:
                self._known[text] = trusted
        return trusted


def _last(headers: Mapping[str, str], name: str) -> str:
    return headers.get(name, "").rpartition(",")[2].strip()
