"""Proxy settings of the environment: `HTTPS_PROXY` for https URLs, except for hosts in `NO_PROXY`."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit


class EnvironmentProxy:
    """Raises `ValueError` if `HTTPS_PROXY` is not the URL of an HTTP proxy. Lower-case names have priority."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._proxy = _url(environ.get("https_proxy") or environ.get("HTTPS_PROXY"))
        excepted = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
        self._excepted = [entry.strip().lower() for entry in excepted.split(",") if entry.strip()]
        self._known: dict[str, str | None] = {}  # by URL; the URLs are those of the configuration
        self.configured = self._proxy is not None

    def proxy_for(self, url: str) -> str | None:
        """Return the proxy for `url`, or `None`. Loopback addresses have none."""
        if self._proxy is None or not url.startswith("https:"):
            return None
        if url not in self._known:
            if len(self._known) >= 1024:
                self._known.clear()
            self._known[url] = None if self._is_excepted(url) else self._proxy
        return self._known[url]

    def _is_excepted(self, url: str) -> bool:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 443
        return _is_loopback(host) or any(_covers(entry, host, port) for entry in self._excepted)


def _url(proxy: str | None) -> str | None:
    if not proxy:
        return None
    url = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise ValueError("the variable HTTPS_PROXY must be the URL of an HTTP proxy, such as http://proxy.example:3128")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _covers(entry: str, host: str, port: int) -> bool:
    """Whether an entry of `NO_PROXY` matches: `*`, a domain, an address or a network, optionally with a port."""
    if entry == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass
    name, colon, wanted = entry.rpartition(":")
    if colon and wanted.isdigit():
        if int(wanted) != port:
            return False
        entry = name.strip("[]")
    entry = entry.removeprefix("*").removeprefix(".")
    return host == entry or host.endswith(f".{entry}")
