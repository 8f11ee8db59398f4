"""What a reverse proxy says of its client, and which is believed."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.http.forwarded import Forwarded

TRUSTED = ("10.0.0.0/8", "::1", "192.0.2.1")


def applied(client: str | None, **headers: str) -> dict[str, Any]:
    raw = [(b"host", b"inside"), *((b"x-forwarded-" + name.encode(), text.encode()) for name, text in headers.items())]
    scope = {"client": client and (client, 1), "scheme": "http", "headers": raw}
    changed = Forwarded(TRUSTED).apply(scope)
    return {
        "client": changed["client"] and changed["client"][0],
        "scheme": changed["scheme"],
        "host": dict(changed["headers"])[b"host"].decode(),
    }


@pytest.mark.parametrize("client", ["10.1.2.3", "::1", "::ffff:10.1.2.3", "192.0.2.1"])
def test_a_trusted_proxy_is_believed(client: str) -> None:
    found = applied(client, **{"for": "203.0.113.9", "proto": "https", "host": "llm.example"})

    assert found == {"client": "203.0.113.9", "scheme": "https", "host": "llm.example"}


@pytest.mark.parametrize("client", ["203.0.113.1", "192.0.2.2", "::2", None, "unix"])
def test_any_other_client_is_not_believed(client: str | None) -> None:
    found = applied(client, **{"for": "203.0.113.9", "proto": "https", "host": "llm.example"})

    assert found == {"client": client, "scheme": "http", "host": "inside"}


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9, 10.0.0.7", "203.0.113.9"),
        ("2001:db8::1", "2001:db8::1"),
        ("10.0.0.7", "10.1.2.3"),
        ("unknown", "10.1.2.3"),
        ("", "10.1.2.3"),
    ],
)
def test_the_client_is_the_last_address_that_is_no_proxy(chain: str, expected: str) -> None:
    assert applied("10.1.2.3", **{"for": chain})["client"] == expected


@pytest.mark.parametrize(
    ("proto", "expected"), [("http, https", "https"), ("HTTPS", "https"), ("ftp", "http"), ("", "http")]
)
def test_only_schemes_of_the_web_are_believed(proto: str, expected: str) -> None:
    assert applied("10.1.2.3", proto=proto)["scheme"] == expected


@pytest.mark.parametrize(("headers", "host"), [({}, None), ({"host": "inside"}, "llm.example")])
def test_a_forwarded_host_only_replaces_one_of_the_request(headers: dict[str, str], host: str | None) -> None:
    _, seen = Forwarded(TRUSTED).seen(("10.1.2.3", 1), {"x-forwarded-host": "llm.example", **headers})

    assert seen == host
