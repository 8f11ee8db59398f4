"""The section `auth` as the service uses it."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from proxy.config.compile.auth import carrier_key, compile_auth
from proxy.core.auth import AuthPolicy, ClaimNames, Issuer
from proxy.core.model import LimitValues
from tests.unit.config.files import loaded

FULL = f"""
auth:
  mode: keys+jwt
  admin_token: secret
  pepper: {"n" * 32}
  previous_peppers: [{"o" * 32}, '${{GONE:-}}']
  jwt:
    issuers: [{{issuer: i, audience: a, jwks_url: 'https://i/k', algorithms: [ES256], claims: {{role: x.roles}}}}]
defaults: {{key_limits: {{rpm: 5}}}}
"""


def test_the_section_is_compiled(tmp_path: Path) -> None:
    settings = loaded(tmp_path, FULL).settings

    policy = compile_auth(settings)

    assert policy == AuthPolicy(
        "keys+jwt",
        "secret",
        ("n" * 32, "o" * 32),
        (Issuer("i", "a", "https://i/k", ("ES256",), ClaimNames(role="x.roles")),),
        LimitValues(rpm=5),
    )
    assert (policy.keys, policy.tokens) == (True, True)


def test_nothing_is_configured_by_default(tmp_path: Path) -> None:
    policy = compile_auth(loaded(tmp_path, "auth: {admin_token: '${T:-}'}").settings)

    assert policy == AuthPolicy()
    assert (policy.keys, policy.tokens, policy.admin_token) == (False, False, None)


def test_the_keys_of_carriers_come_from_the_encryption_keys(tmp_path: Path) -> None:
    text = f"auth: {{encryption_key: {'e' * 32}, previous_encryption_keys: [{'p' * 32}, {'q' * 32}]}}"

    policy = compile_auth(loaded(tmp_path, text).settings)

    assert policy.carrier_keys == tuple(carrier_key(letter * 32) for letter in "epq")


def test_the_key_of_carriers_is_derived_by_hkdf() -> None:
    expected = HKDF(SHA512(), 64, b"signalbox carrier 1", b"reasoning").derive(b"e" * 32)

    assert carrier_key("e" * 32) == expected


def test_without_an_encryption_key_a_process_has_one_random_key(tmp_path: Path) -> None:
    first = compile_auth(loaded(tmp_path, "auth: {}").settings)
    second = compile_auth(loaded(tmp_path, "auth: {}").settings)

    assert first.carrier_keys == second.carrier_keys
    assert [len(key) for key in first.carrier_keys] == [64]
