"""Which requests of web pages are answered: `Host` against DNS rebinding, `Origin` and `Sec-Fetch-Site` against others.

A page of any site can make a browser send requests to any address that the browser reaches, a service on its own
machine included. Clients that are no browsers send neither `Origin` nor `Sec-Fetch-Site`, and are not restricted.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from proxy.core.errors import HostNotAllowed, OriginNotAllowed

_DEFAULT_PORTS = {"http": "80", "https": "443"}
_OWN_SITE = ("same-origin", "none")  # of `Sec-Fetch-Site`; `none`: the user typed the address
_REMEMBERED = 1000  # values of `Host`


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """The IP address that `text` is, an IPv4 address in IPv6 form as IPv4; None: it is a name."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an address, can only be this machine."""
    address = address_of(host)
    return address.is_loopback if address else host == "localhost" or host.endswith(".localhost")


class Browsers:
    """The rules of `server.hosts` and `server.cors.origins`, with `loopback` if the server listens only there."""

    def __init__(self, hosts: Iterable[str] = (), origins: Iterable[str] = (), *, loopback: bool = False) -> None:
        self._hosts = frozenset(hosts)
        self._suffixes = tuple(host[1:] for host in self._hosts if host.startswith("*."))
        self._origins = frozenset(origins)
        self._every_host = not self._hosts and not loopback
        self._known: set[bytes] = set()

    def lists(self, origin: str) -> bool:
        """Whether `server.cors.origins` has this origin."""
        return "*" in self._origins or (bool(self._origins) and _normal(origin) in self._origins)

    def check_host(self, host: bytes, *, rebindable: bool) -> None:
        """Raises `HostNotAllowed`. `rebindable`: a web page may have sent it, and it arrived on a loopback address."""
        if (self._every_host and not rebindable) or host in self._known:
            return
        name = _without_port(host.decode("latin-1").lower())[0].rstrip(".")
        if not (address_of(name) or is_loopback(name) or name in self._hosts or name.endswith(self._suffixes)):
            raise HostNotAllowed(
                f"The host `{name[:256]}` is not answered here; add it to `server.hosts`.", param="host"
            )
        if len(self._known) < _REMEMBERED:
            self._known.add(host)

    def check_origin(self, origin: str | None, site: str | None, *, scheme: str, host: str) -> None:
        """Raises `OriginNotAllowed` for the page of another site; `scheme` and `host` are what the client used."""
        if origin is not None and self.lists(origin):
            return
        if site not in (None, *_OWN_SITE):
            raise OriginNotAllowed(_message(origin, f"`sec-fetch-site: {site[:32]}`"))
        if origin is not None and not _is_own(origin, site, scheme, host):
            raise OriginNotAllowed(_message(origin, "not this service's own"))


def _message(origin: str | None, why: str) -> str:
    page = f"from `{origin[:256]}` ({why})" if origin is not None else f"of another site ({why})"
    return f"A web page {page} may not call this service; add its origin to `server.cors.origins`."


def _is_own(origin: str, site: str | None, scheme: str, host: str) -> bool:
    """Whether the page came from here. Behind a proxy that ends TLS, the browser's own word makes up for the scheme."""
    page_scheme, separator, page_host = _normal(origin).partition("://")
    if not separator or _normal(f"{page_scheme}://{host}") != f"{page_scheme}://{page_host}":
        return False
    return page_scheme == scheme or (site == "same-origin" and page_scheme in _DEFAULT_PORTS)


def _normal(origin: str) -> str:
    """In lower case, and without the port that its scheme implies."""
    scheme, _, rest = origin.lower().partition("://")
    name, port = _without_port(rest)
    return origin.lower() if not port or port != _DEFAULT_PORTS.get(scheme) else f"{scheme}://{rest[: -len(port) - 1]}"


def _without_port(host: str) -> tuple[str, str]:
    """Name or address without brackets, and the port."""
    if host.startswith("["):
        name, _, port = host[1:].partition("]")
        return name, port.removeprefix(":")
    name, _, port = host.partition(":")
    return name, port
