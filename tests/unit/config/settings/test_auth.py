"""Only safe settings of a token issuer are accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.errors import ConfigError
from proxy.config.settings.auth import ALGORITHMS
from proxy.core.auth import AuthPolicy
from tests.unit.config.files import loaded


def issuer(**values: str) -> str:
    fields = {"issuer": "'https://i'", "audience": "a", "jwks_url": "'https://i/keys'", **values}
    inner = ", ".join(f"{name}: {value}" for name, value in fields.items())
    return f"auth: {{jwt: {{issuers: [{{{inner}}}]}}}}"


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "HS384", "HS512", "rs256", "RS1", "''"])
def test_no_symmetric_algorithm_is_accepted(tmp_path: Path, algorithm: str) -> None:
    with pytest.raises(ConfigError, match="asymmetric"):
        loaded(tmp_path, issuer(algorithms=f"[RS256, {algorithm}]"))


def test_every_asymmetric_algorithm_is_accepted(tmp_path: Path) -> None:
    settings = loaded(tmp_path, issuer(algorithms=f"[{', '.join(ALGORITHMS)}]")).settings

    assert settings.auth.jwt.issuers[0].algorithms == ALGORITHMS


def test_algorithms_are_not_empty(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        loaded(tmp_path, issuer(algorithms="[]"))


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.example/keys",
        "http://127.0.0.1.evil.example/keys",
        "http://localhost.evil.example/keys",
        "ftp://issuer.example/keys",
        "file:///etc/keys",
        "issuer.example/keys",
        "https://",
        "https://user:secret@issuer.example/keys",
        "https://[::1/keys",
        "https://issuer.example/a b",
    ],
)
def test_keys_come_only_from_https(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="`https` URL"):
        loaded(tmp_path, issuer(jwks_url=f"'{url}'"))


@pytest.mark.parametrize(
    "url", ["https://i.example/keys", "http://127.0.0.1:81/keys", "http://[::1]/k", "http://localhost/k"]
)
def test_loopback_may_be_without_tls(tmp_path: Path, url: str) -> None:
    assert loaded(tmp_path, issuer(jwks_url=f"'{url}'")).settings.auth.jwt.issuers[0].jwks_url == url


def test_a_policy_shows_no_secret() -> None:
    policy = AuthPolicy("keys", admin_token="canary-token", peppers=("canary-pepper",))

    assert "canary" not in repr(policy)
