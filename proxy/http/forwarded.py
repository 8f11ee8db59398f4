"""Forwarded headers of reverse proxies, used only from the addresses in `server.trusted_proxies`."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network

from starlette.types import Scope

from proxy.http.browsers import address_of

_SCHEMES = ("http", "https")


class Forwarded:
    """Reads `x-forwarded-for`, `x-forwarded-proto` and `x-forwarded-host`."""

    def __init__(self, proxies: Iterable[str]) -> None:
        self._networks = [ip_network(proxy, strict=False) for proxy in proxies]

    def apply(self, scope: Scope) -> Scope:
        """Return the scope with the forwarded client, scheme and host, if a trusted proxy sent the request."""
        client = scope.get("client")
        if client is None or not self._trusts(client[0]):
            return scope
        forwarded: dict[bytes, list[str]] = {}
        for name, value in scope["headers"]:
            if name.startswith(b"x-forwarded-"):
                forwarded.setdefault(name[12:], []).extend(part.strip() for part in value.decode("latin-1").split(","))
        changed = dict(scope)
        if address := self._client(forwarded.get(b"for", [])):
            changed["client"] = (address, 0)
        scheme = forwarded.get(b"proto", [""])[-1].lower()
        if scheme in _SCHEMES:
            changed["scheme"] = scheme
        if host := forwarded.get(b"host", [""])[-1]:
            replaced = (b"host", host.encode("latin-1"))
            changed["headers"] = [replaced if name == b"host" else (name, value) for name, value in scope["headers"]]
        return changed

    def _client(self, addresses: list[str]) -> str | None:
        """Return the last address that is not a trusted proxy: each proxy appends the address of its client."""
        for address in reversed(addresses):
            if not self._trusts(address):
                return address if address_of(address) else None
        return None

    def _trusts(self, text: str) -> bool:
        address = address_of(text)
        return address is not None and any(address in network for network in self._networks)
