"""Compiles the section `auth` and the defaults of keys."""

from __future__ import annotations

import hmac
import os
from functools import lru_cache
from typing import TYPE_CHECKING

from proxy.core.auth import AuthPolicy, ClaimNames, Issuer
from proxy.core.model import LimitValues

if TYPE_CHECKING:  # `process_key` needs none of it
    from proxy.config.settings.schema import Settings

_SALT = b"signalbox carrier 1"


def compile_auth(settings: Settings) -> AuthPolicy:
    """Compile valid settings."""
    auth = settings.auth
    token = auth.admin_token.get_secret_value() if auth.admin_token else None
    secrets = [] if auth.encryption_key is None else [auth.encryption_key, *auth.previous_encryption_keys]
    return AuthPolicy(
        mode=auth.mode,
        admin_token=token or None,
        peppers=auth.peppers,
        issuers=tuple(
            Issuer(each.issuer, each.audience, each.jwks_url, each.algorithms, ClaimNames(**each.claims.model_dump()))
            for each in auth.jwt.issuers
        ),
        key_limits=LimitValues(**settings.defaults.key_limits.model_dump()),
        serve_stale=settings.dependencies.store.fail == "open",
        carrier_keys=tuple(carrier_key(secret.get_secret_value()) for secret in secrets) or (process_key(),),
    )


def carrier_key(secret: str) -> bytes:
    """Return the key of carriers, 64 bytes, from `auth.encryption_key`: HKDF with SHA-512 (RFC 5869)."""
    extracted = hmac.digest(_SALT, secret.encode(), "sha512")
    return hmac.digest(extracted, b"reasoning\x01", "sha512")


@lru_cache(1)
def process_key() -> bytes:
    """Return the key of carriers without `auth.encryption_key`.

    It is random, and ends with the process; workers share it if it is made before they are forked.
    """
    return os.urandom(64)
