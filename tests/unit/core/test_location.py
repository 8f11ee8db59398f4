"""The setting `store`."""

from __future__ import annotations

import pytest

from proxy.core.location import Location, locate, without_secrets

PASSWORD = "canary-password"


@pytest.mark.parametrize(
    ("store", "path"),
    [
        ("sqlite", "data/signalbox.db"),
        ("sqlite:///x.db", "x.db"),
        ("sqlite:////var/lib/x.db", "/var/lib/x.db"),
        ("sqlite:///a b%20c.db", "a b%20c.db"),
    ],
)
def test_sqlite_is_a_file(store: str, path: str) -> None:
    assert locate(store, "data") == Location("sqlite", path, path)


@pytest.mark.parametrize(
    ("store", "name"),
    [
        (f"postgresql://u:{PASSWORD}@db.example:5433/app", "db.example:5433/app"),
        ("postgresql:///app?host=/var/run/postgresql", "/var/run/postgresql/app"),
        (f"postgresql://u:{PASSWORD}@a:1,b:2/app?target_session_attrs=read-write", "a:1,b:2/app"),
        ("postgresql://u@[::1]:5432/app?sslmode=verify-full", "[::1]:5432/app"),
        ("postgresql://", "localhost/"),
    ],
)
def test_postgresql_is_named_without_its_credentials(store: str, name: str) -> None:
    location = locate(store, "")

    assert location == Location("postgresql", name, store)
    assert PASSWORD not in repr(location)


def test_none_is_no_location() -> None:
    assert locate("none", "data") is None


@pytest.mark.parametrize(
    ("store", "message"),
    [
        ("sqlite:///:memory:", "not `:memory:`"),
        ("sqlite:///x.db?mode=ro", r"without `\?`"),
        (f"postgresql://u:{PASSWORD}@host:port/db", "must be a URL such as"),
        (f"postgresql://u:{PASSWORD}@host:99999/db", "must be a URL such as"),
        (f"postgresql://u:{PASSWORD}@[::1/db", "must be a URL such as"),
        (f"mysql://u:{PASSWORD}@host/db", "must be `none`"),
    ],
)
def test_an_invalid_location_is_rejected(store: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        locate(store, "")

    assert PASSWORD not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("none", "none"),
        ("sqlite:///x.db", "sqlite:///x.db"),
        ("redis://cache:6379/0", "redis://cache:6379/0"),
        (f"rediss://:{PASSWORD}@cache/0", "rediss://:***@cache/0"),
        (f"postgresql://u:{PASSWORD}@db/app", "postgresql://u:***@db/app"),
        (f"postgresql://u:p@{PASSWORD}@db/app", "postgresql://u:***@db/app"),
        (f"postgresql://db/app?user=u&password={PASSWORD}", "postgresql://db/app?***"),
    ],
)
def test_secrets_of_a_url_are_not_shown(url: str, shown: str) -> None:
    assert without_secrets(url) == shown
