"""Rules for requests of browsers: `Host` against DNS rebinding, `Origin` and `Sec-Fetch-Site` against other sites.

A page of any site can make a browser send requests to any address that the browser can reach, including loopback.
Other clients send neither `Origin` nor `Sec-Fetch-Site`, and are not restricted. See `docs/api.md`, Browsers.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from proxy.core.errors import HostNotAllowed, OriginNotAllowed

_DEFAULT_PORTS = {"http": "80", "https": "443"}
_OWN_SITE = ("same-origin", "none")  # values of `Sec-Fetch-Site`; `none`: the user entered the address


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """Return `text` as an IP address, IPv4-mapped IPv6 as IPv4; None if it is a name."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an address, always refers to this machine."""
    address = address_of(host)
    return address.is_loopback if address else host == "localhost" or host.endswith(".localhost")


class Browsers:
    """The rules of `server.hosts` and `server.cors.origins`, with `loopback` if the server listens only there."""

    def __init__(self, hosts: Iterable[str] = (), origins: Iterable[str] = (), *, loopback: bool = False) -> None:
        self._hosts = frozenset(hosts)
        self._suffixes = tuple(host[1:] for host in self._hosts if host.startswith("*."))
        self._origins = frozenset(origins)
        self._every_host = not self._hosts and not loopback

    def lists(self, origin: str) -> bool:
        """Whether `server.cors.origins` contains this origin."""
        return "*" in self._origins or (bool(self._origins) and _normal(origin) in self._origins)

    def check_host(self, host: bytes, *, rebindable: bool) -> None:
        """Raise `HostNotAllowed` for other hosts. `rebindable`: a browser sent the request to a loopback address."""
        if self._every_host and not rebindable:
            return
        name = _without_port(host.decode("latin-1").lower())[0].rstrip(".")
        if not (address_of(name) or is_loopback(name) or name in self._hosts or name.endswith(self._suffixes)):
            raise HostNotAllowed(f"The host `{name[:256]}` is not accepted; add it to `server.hosts`.", param="host")

    def check_origin(self, origin: str | None, site: str | None, *, scheme: str, host: str) -> None:
        """Raise `OriginNotAllowed` for pages of other sites; `scheme` and `host` are those of the request."""
        if origin is not None and self.lists(origin):
            return
        if site not in (None, *_OWN_SITE):
            raise OriginNotAllowed(_message(origin, f"`sec-fetch-site: {site[:32]}`"))
        if origin is not None and not _is_own(origin, site, scheme, host):
            raise OriginNotAllowed(_message(origin, "not this service's origin"))


def _message(origin: str | None, why: str) -> str:
    page = f"from `{origin[:256]}` ({why})" if origin is not None else f"of another site ({why})"
    return f"A web page {page} may not call this service; add its origin to `server.cors.origins`."


def _is_own(origin: str, site: str | None, scheme: str, host: str) -> bool:
    """Whether the page is of this service. `site` is used where a proxy terminates TLS and the scheme differs."""
    page_scheme, separator, page_host = _normal(origin).partition("://")
    if not separator or _normal(f"{page_scheme}://{host}") != f"{page_scheme}://{page_host}":
        return False
    return page_scheme == scheme or (site == "same-origin" and page_scheme in _DEFAULT_PORTS)


def _normal(origin: str) -> str:
    """Return the origin in lower case, without the default port of its scheme."""
    scheme, _, rest = origin.lower().partition("://")
    name, port = _without_port(rest)
    return origin.lower() if not port or port != _DEFAULT_PORTS.get(scheme) else f"{scheme}://{rest[: -len(port) - 1]}"


def _without_port(host: str) -> tuple[str, str]:
    """Return the name, or address without brackets, and the port."""
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
        return name, port.removeprefix(":")
    name, _, port = host.partition(":")
    return name, port
