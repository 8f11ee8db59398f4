"""The section `auth` as the service uses it."""

from __future__ import annotations

from pathlib import Path

from proxy.config.compile.auth import compile_auth
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
