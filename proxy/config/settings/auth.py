"""The section `auth`: how clients are authenticated."""

import re
from typing import Annotated, Any, ClassVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, field_validator

from proxy.config.settings.base import Section
from proxy.config.settings.secrets import EncryptionKey
from proxy.core.auth import AuthMode
from proxy.core.model import UserKeys

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
MIN_PEPPER_BYTES = 32
_LOOPBACK = re.compile(r"localhost|127(?:\.[0-9]{1,3}){3}|::1")


def _pepper(value: SecretStr) -> SecretStr:
    """Return the pepper. Raises `ValueError` if it is too short; an empty one is the same as none."""
    if 0 < len(value.get_secret_value().encode()) < MIN_PEPPER_BYTES:
        raise ValueError(f"must have at least {MIN_PEPPER_BYTES} bytes; make one with `openssl rand -base64 32`")
    return value


Pepper = Annotated[SecretStr, AfterValidator(_pepper)]
Claim = Annotated[str, Field(min_length=1, max_length=200)]


class ClaimSettings(Section):
    """The claims of a token that describe the caller; a nested claim by its path, such as `realm_access.roles`."""

    user: Claim = Field(default="sub", description="The claim that names the user.")
    team: Claim | None = Field(default=None, description="The claim that names the team.")
    role: Claim | None = Field(default=None, description="The claim that names the role, or a list with it.")
    models: Claim | None = Field(default=None, description="The claim with the list of allowed models.")
    limits: Claim | None = Field(default=None, description="The claim with the limits of the user.")


class IssuerSettings(Section):
    """A token issuer."""

    issuer: str = Field(min_length=1, description="The exact `iss` of its tokens.")
    audience: str = Field(min_length=1, description="The `aud` that its tokens must contain.")
    jwks_url: str = Field(description="The URL of its public keys.")
    algorithms: tuple[str, ...] = Field(
        default=("RS256",), min_length=1, description="The accepted signature algorithms."
    )
    claims: ClaimSettings = Field(
        default=ClaimSettings.model_construct(), description="The claims that identify the caller."
    )

    @field_validator("jwks_url", mode="after")
    @classmethod
    def _secure(cls, value: str) -> str:
        try:
            url = urlsplit(value)
            host = url.hostname or ""
        except ValueError:
            raise ValueError("must be an `https` URL") from None
        if not host or url.username is not None or any(map(str.isspace, value)):
            raise ValueError("must be an `https` URL without user name and password")
        if url.scheme != "https" and not (url.scheme == "http" and _LOOPBACK.fullmatch(host)):
            raise ValueError("must be an `https` URL; `http` is allowed for loopback addresses only")
        return value

    @field_validator("algorithms", mode="after")
    @classmethod
    def _asymmetric(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in ALGORITHMS:
                raise ValueError(f"must contain only asymmetric algorithms: {', '.join(ALGORITHMS)}")
        return value


class JwtSettings(Section):
    """Authentication by JWT."""

    issuers: tuple[IssuerSettings, ...] = Field(default=(), description="The trusted issuers.")


class AuthSettings(Section):
    """How clients are authenticated."""

    at: ClassVar[str | None] = "auth"

    mode: AuthMode = Field(default="none", description="How clients authenticate.")
    admin_token: SecretStr | None = Field(
        default=None, description="The bearer token for `/admin`; absent: `/admin` is disabled."
    )
    pepper: Pepper | None = Field(default=None, description="The secret used to hash keys.")
    previous_peppers: tuple[Pepper, ...] = Field(
        default=(), description="Earlier values of `pepper`, whose keys still work."
    )
    encryption_key: EncryptionKey | None = Field(
        default=None,
        description="The secret that encrypts users' provider keys and seals reasoning, or `file:` and its path.",
    )
    previous_encryption_keys: tuple[EncryptionKey, ...] = Field(
        default=(), description="Earlier values of `encryption_key`, which can still decrypt."
    )
    provider_keys: UserKeys = Field(
        default="prefer",
        description="Use a user's own provider key before the configured ones, use only own keys, or ignore them.",
    )
    jwt: JwtSettings = Field(default=JwtSettings.model_construct(), description="Authentication by JWT.")

    @field_validator("previous_peppers", "previous_encryption_keys", mode="before")
    @classmethod
    def _set(cls, value: Any) -> Any:
        """Leave out those whose variable is not set."""
        return [item for item in value if item is not None] if isinstance(value, list | tuple) else value

    @property
    def peppers(self) -> tuple[str, ...]:
        """The peppers that are set, the newest first."""
        every = (self.pepper, *self.previous_peppers)
        return tuple(text for secret in every if secret is not None and (text := secret.get_secret_value()))

    def secrets(self) -> list[str]:
        """Return the proxy's own secrets, which are removed from answers like provider keys."""
        own = (self.admin_token, self.encryption_key, *self.previous_encryption_keys)
        return [*(secret.get_secret_value() for secret in own if secret is not None), *self.peppers]
