"""Which URLs the environment's proxy is for."""

from __future__ import annotations

import pytest

from proxy.upstream.environment import EnvironmentProxy

PROXY = "http://proxy.test:3128"


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": ""}, None),
        ({"HTTPS_PROXY": PROXY}, PROXY),
        ({"https_proxy": PROXY}, PROXY),
        ({"https_proxy": PROXY, "HTTPS_PROXY": "http://other.test:1"}, PROXY),
        ({"HTTPS_PROXY": "proxy.test:3128"}, PROXY),
        ({"HTTPS_PROXY": "http://user:word@proxy.test"}, "http://user:word@proxy.test"),
        ({"HTTP_PROXY": PROXY, "ALL_PROXY": PROXY}, None),
    ],
)
def test_https_has_the_proxy_of_the_environment(environ: dict[str, str], proxy: str | None) -> None:
    found = EnvironmentProxy(environ)

    assert [found.proxy_for("https://api.acme.test/v1") for _ in range(2)] == [proxy, proxy]
    assert found.proxy_for("http://api.acme.test/v1") is None


@pytest.mark.parametrize(
    ("excepted", "url"),
    [
        ("*", "https://api.acme.test/"),
        ("acme.test", "https://acme.test/"),
        ("acme.test", "https://api.acme.test/"),
        (".acme.test", "https://api.acme.test/"),
        ("*.acme.test", "https://api.acme.test/"),
        ("other.test, ACME.test ,", "https://api.Acme.test/"),
        ("acme.test:443", "https://acme.test/"),
        ("acme.test:8443", "https://acme.test:8443/"),
        ("10.1.2.3", "https://10.1.2.3/"),
        ("10.0.0.0/8", "https://10.1.2.3:8443/"),
        ("fd00::/8", "https://[fd00::1]/"),
        ("[fd00::1]", "https://[fd00::1]/"),
        ("", "https://localhost/"),
        ("", "https://api.localhost/"),
        ("", "https://127.0.0.1:8443/"),
        ("", "https://[::1]/"),
    ],
)
def test_excepted_hosts_have_none(excepted: str, url: str) -> None:
    assert EnvironmentProxy({"HTTPS_PROXY": PROXY, "NO_PROXY": excepted}).proxy_for(url) is None


@pytest.mark.parametrize(
    ("excepted", "url"),
    [
        ("acme.test", "https://notacme.test/"),
        ("acme.test", "https://acme.test.evil.test/"),
        ("acme.test:8443", "https://acme.test/"),
        ("api.acme.test", "https://acme.test/"),
        ("10.0.0.0/8", "https://11.1.2.3/"),
        ("10.0.0.0/8", "https://acme.test/"),
        (",", "https://acme.test/"),
    ],
)
def test_other_hosts_have_it(excepted: str, url: str) -> None:
    assert EnvironmentProxy({"HTTPS_PROXY": PROXY, "no_proxy": excepted}).proxy_for(url) == PROXY


@pytest.mark.parametrize(
    "proxy", ["socks5://proxy.test", "http://?a", "ftp://proxy.test", "http://proxy.test:x", "http://[::1"]
)
def test_proxy_that_cannot_be_used_is_an_error_without_its_value(proxy: str) -> None:
    with pytest.raises(ValueError, match="HTTPS_PROXY must be the URL of an HTTP proxy") as refused:
        EnvironmentProxy({"HTTPS_PROXY": proxy})

    assert proxy not in str(refused.value)


def test_memory_is_bounded() -> None:
    found = EnvironmentProxy({"HTTPS_PROXY": PROXY})

    for number in range(3000):
        found.proxy_for(f"https://acme.test/{number}")

    assert len(found._known) <= 1024  # noqa: SLF001
