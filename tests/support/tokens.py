"""A token issuer with keys of its own, and the tokens that it signs."""

from __future__ import annotations

import json
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ISSUER = "https://issuer.example/tenant"
AUDIENCE = "signalbox"
RSA_KEYS = [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2)]
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def jwk(private: Any, kid: str | None, **more: Any) -> dict[str, Any]:
    """The public half of a key as a JWK."""
    algorithm = jwt.algorithms.ECAlgorithm if isinstance(private, ec.EllipticCurvePrivateKey) else None
    to_jwk = (algorithm or jwt.algorithms.RSAAlgorithm).to_jwk
    entry: dict[str, Any] = to_jwk(private.public_key(), as_dict=True)
    return {**entry, **({"kid": kid} if kid is not None else {}), **more}


def pem_of(private: Any) -> bytes:
    """The public half of a key as PEM."""
    encoded: bytes = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return encoded


class TokenIssuer:
    """What serves the set of keys, and counts how often it is fetched."""

    def __init__(self, issuer: str = ISSUER) -> None:
        self.issuer = issuer
        self.keys: list[dict[str, Any]] = [jwk(RSA_KEYS[0], "one")]
        self.fetches = 0
        self.down = False

    async def fetch(self, url: str) -> bytes:
        """The set of keys."""
        self.fetches += 1
        if self.down:
            raise ConnectionError("refused")
        return json.dumps({"keys": self.keys}).encode()

    def token(
        self,
        now: float,
        private: Any = RSA_KEYS[0],
        *,
        algorithm: str = "RS256",
        headers: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """A token that is valid for an hour, with other `claims` (None: without it)."""
        whole = {"iss": self.issuer, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 3600, **claims}
        sent = {name: value for name, value in whole.items() if value is not None}
        head = {name: value for name, value in {"kid": "one", **(headers or {})}.items() if value is not None}
        # `jwt.encode` refuses some of the claims that attackers send
        return jwt.PyJWS().encode(json.dumps(sent).encode(), private, algorithm, head)
