"""Which requests of web pages are answered."""

from __future__ import annotations

import pytest

from proxy.core.errors import HostNotAllowed, OriginNotAllowed
from proxy.http.browsers import Browsers, is_loopback

LISTED = ("https://app.example", "http://localhost:3000", "chrome-extension://abc")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("box.localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("notlocalhost", False),
    ],
)
def test_loopback_names_and_addresses_are_known(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    "host",
    [
        b"127.0.0.1:80",
        b"[::1]:80",
        b"[::1]",
        b"10.1.2.3",
        b"localhost",
        b"LocalHost.:8080",
        b"a.localhost",
        b"0.0.0.0:1",
    ],
)
@pytest.mark.parametrize("browsers", [Browsers(loopback=True), Browsers(["llm.example"])], ids=["loopback", "hosts"])
def test_addresses_and_loopback_names_are_answered(browsers: Browsers, host: bytes) -> None:
    browsers.check_host(host, rebindable=False)
    browsers.check_host(host, rebindable=True)


@pytest.mark.parametrize(
    "host",
    [b"evil.example", b"localhost.evil.example", b"127.0.0.1.evil.example", b"127.0.0.1.nip.io:80", b"1", b"0x7f.1"],
)
@pytest.mark.parametrize("browsers", [Browsers(loopback=True), Browsers(["llm.example"])], ids=["loopback", "hosts"])
def test_other_names_are_refused_again_and_again(browsers: Browsers, host: bytes) -> None:
    for _ in range(2):
        with pytest.raises(HostNotAllowed, match=r"server\.hosts"):
            browsers.check_host(host, rebindable=False)


def test_every_name_is_answered_without_a_list_unless_rebindable() -> None:
    browsers = Browsers()

    browsers.check_host(b"llm.example", rebindable=False)

    with pytest.raises(HostNotAllowed):
        browsers.check_host(b"llm.example", rebindable=True)


@pytest.mark.parametrize(
    "host", [b"llm.example", b"LLM.example:443", b"llm.example.", b"a.team.example", b"b.a.team.example"]
)
def test_listed_names_are_answered(host: bytes) -> None:
    Browsers(["llm.example", "*.team.example"], loopback=True).check_host(host, rebindable=True)


@pytest.mark.parametrize("host", [b"team.example", b"ateam.example", b"x.llm.example"])
def test_a_wildcard_covers_names_below_it_only(host: bytes) -> None:
    with pytest.raises(HostNotAllowed):
        Browsers(["llm.example", "*.team.example"]).check_host(host, rebindable=False)


OWN = [
    (None, None, "http", "127.0.0.1:8080"),
    (None, "none", "http", "127.0.0.1:8080"),
    (None, "same-origin", "http", "127.0.0.1:8080"),
    ("http://127.0.0.1:8080", None, "http", "127.0.0.1:8080"),
    ("http://127.0.0.1:8080", "same-origin", "http", "127.0.0.1:8080"),
    ("http://localhost", "same-origin", "http", "localhost:80"),
    ("http://[::1]:8080", "same-origin", "http", "[::1]:8080"),
    ("https://llm.example", None, "https", "llm.example"),
    ("https://llm.example", None, "https", "LLM.example:443"),
    ("https://llm.example", "same-origin", "http", "llm.example"),  # a proxy that ends TLS
]
FOREIGN = [
    (None, "cross-site", "http", "127.0.0.1:8080"),
    (None, "same-site", "http", "127.0.0.1:8080"),
    (None, "", "http", "127.0.0.1:8080"),
    (None, "anything", "http", "127.0.0.1:8080"),
    ("null", None, "http", "127.0.0.1:8080"),
    ("null", "same-origin", "http", "127.0.0.1:8080"),
    ("", None, "http", "127.0.0.1:8080"),
    ("file://", None, "http", "127.0.0.1:8080"),
    ("http://evil.example", None, "http", "127.0.0.1:8080"),
    ("http://evil.example", "same-origin", "http", "127.0.0.1:8080"),
    ("http://evil.example", "none", "http", "127.0.0.1:8080"),
    ("http://127.0.0.1:8080", "cross-site", "http", "127.0.0.1:8080"),
    ("http://127.0.0.1:3000", "same-site", "http", "127.0.0.1:8080"),
    ("http://127.0.0.1", None, "http", "127.0.0.1:8080"),
    ("https://127.0.0.1:8080", None, "http", "127.0.0.1:8080"),
    ("http://localhost:8080", None, "http", "127.0.0.1:8080"),
    ("http://127.0.0.1:8080.evil.example", None, "http", "127.0.0.1:8080"),
    ("http://127.0.0.1:8080@evil.example", None, "http", "127.0.0.1:8080"),
    ("http://evil.example#http://127.0.0.1:8080", None, "http", "127.0.0.1:8080"),
    ("https://app.example.evil.example", None, "http", "127.0.0.1:8080"),
    ("https://xapp.example", None, "http", "127.0.0.1:8080"),
    ("http://app.example", None, "http", "127.0.0.1:8080"),
    ("https://app.example:444", None, "http", "127.0.0.1:8080"),
    ("ftp://llm.example", "same-origin", "http", "llm.example"),
]


@pytest.mark.parametrize(("origin", "site", "scheme", "host"), OWN)
@pytest.mark.parametrize("origins", [(), LISTED], ids=["off", "on"])
def test_own_pages_and_other_clients_are_answered(
    origins: tuple[str, ...], origin: str | None, site: str | None, scheme: str, host: str
) -> None:
    Browsers(origins=origins).check_origin(origin, site, scheme=scheme, host=host)


@pytest.mark.parametrize(("origin", "site", "scheme", "host"), FOREIGN)
@pytest.mark.parametrize("origins", [(), LISTED], ids=["off", "on"])
def test_pages_of_other_sites_are_refused(
    origins: tuple[str, ...], origin: str | None, site: str | None, scheme: str, host: str
) -> None:
    with pytest.raises(OriginNotAllowed, match=r"server\.cors\.origins"):
        Browsers(origins=origins).check_origin(origin, site, scheme=scheme, host=host)


@pytest.mark.parametrize(
    "origin", ["https://app.example", "HTTPS://App.Example:443", "http://localhost:3000", LISTED[2]]
)
@pytest.mark.parametrize("site", [None, "cross-site", "same-site"])
def test_pages_of_listed_origins_are_answered(origin: str, site: str | None) -> None:
    Browsers(origins=LISTED).check_origin(origin, site, scheme="http", host="127.0.0.1:8080")


@pytest.mark.parametrize("origin", ["https://any.example", "null"])
def test_a_star_lists_every_origin(origin: str) -> None:
    Browsers(origins=["*"]).check_origin(origin, "cross-site", scheme="http", host="127.0.0.1:8080")
