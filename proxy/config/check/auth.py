"""Settings of `auth` that need other settings, or a package."""

from collections.abc import Iterator
from importlib.util import find_spec

from proxy.config.check.validate import Finding
from proxy.config.settings.schema import Settings


def auth_problems(settings: Settings) -> Iterator[Finding]:
    """Yield what the mode of authentication lacks."""
    auth = settings.auth
    if "keys" in auth.mode:
        if settings.store == "none":
            yield Finding(("auth", "mode"), "keys need a store: set `store` to `sqlite` or `postgresql://...`")
        if auth.pepper is None or not auth.pepper.get_secret_value():
            message = "keys need `auth.pepper` (SIGNALBOX_PEPPER); make one with `openssl rand -base64 32`"
            yield Finding(("auth", "mode"), message)
    if "jwt" in auth.mode:
        if not auth.jwt.issuers:
            yield Finding(("auth", "mode"), "tokens need an issuer: add one to `auth.jwt.issuers`")
        if find_spec("jwt") is None or find_spec("cryptography") is None:
            yield Finding(("auth", "mode"), "tokens need PyJWT: install `signalbox-proxy[jwt]`")
    seen = set()
    for index, issuer in enumerate(auth.jwt.issuers):
        if issuer.issuer in seen:
            yield Finding(("auth", "jwt", "issuers", index, "issuer"), "is listed twice; remove one")
        seen.add(issuer.issuer)
