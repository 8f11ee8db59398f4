"""Compiles the section `auth` and the defaults of keys."""

from proxy.config.settings.schema import Settings
from proxy.core.auth import AuthPolicy, ClaimNames, Issuer
from proxy.core.model import LimitValues


def compile_auth(settings: Settings) -> AuthPolicy:
    """Compile valid settings."""
    auth = settings.auth
    token = auth.admin_token.get_secret_value() if auth.admin_token else None
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
    )
