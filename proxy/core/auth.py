"""The compiled settings of the section `auth`, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from proxy.core.model import LimitValues

AuthMode = Literal["none", "keys", "jwt", "keys+jwt"]


@dataclass(frozen=True, slots=True)
class ClaimNames:
    """The names of claims; a nested one by its path, such as `realm_access.roles`. `None`: not mapped."""

    user: str = "sub"
    team: str | None = None
    role: str | None = None
    models: str | None = None
    limits: str | None = None


@dataclass(frozen=True, slots=True)
class Issuer:
    """A trusted issuer of tokens; `algorithms` are asymmetric."""

    issuer: str
    audience: str
    jwks_url: str
    algorithms: tuple[str, ...] = ("RS256",)
    claims: ClaimNames = ClaimNames()


@dataclass(frozen=True, slots=True)
class AuthPolicy:
    """Who may call."""

    mode: AuthMode = "none"
    admin_token: str | None = field(default=None, repr=False)
    peppers: tuple[str, ...] = field(default=(), repr=False)  # the newest first
    issuers: tuple[Issuer, ...] = ()
    key_limits: LimitValues = LimitValues()  # of keys without their own
    serve_stale: bool = True  # cached keys work while the store is unavailable
    carrier_keys: tuple[bytes, ...] = field(default=(), repr=False, compare=False)  # the first seals, all of them open

    @property
    def keys(self) -> bool:
        """Whether virtual keys are accepted."""
        return self.mode in ("keys", "keys+jwt")

    @property
    def tokens(self) -> bool:
        """Whether tokens are accepted."""
        return self.mode in ("jwt", "keys+jwt")
