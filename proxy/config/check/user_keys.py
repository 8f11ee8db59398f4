"""Settings of users' own provider keys that need other settings."""

from collections.abc import Iterator

from proxy.config.check.validate import Finding
from proxy.config.settings.schema import Settings
from proxy.config.yaml.read import Path


def user_key_problems(settings: Settings) -> Iterator[Finding]:
    """Yield each `only` that no call could satisfy, and each policy of a provider without keys."""
    missing = _missing(settings)
    if settings.auth.provider_keys == "only" and missing:
        yield Finding(("auth", "provider_keys"), missing)
    for name, provider in settings.providers.items():
        place: Path = ("providers", name, "user_keys")
        if provider.user_keys == "only" and missing:
            yield Finding(place, missing)
        elif provider.user_keys in ("only", "prefer") and not provider.keys:
            message = "needs `keys`, because a provider without keys is called without a credential; add `keys`"
            yield Finding(place, f"{message}, or remove this setting")


def _missing(settings: Settings) -> str:
    """Return what `only` lacks, or an empty text."""
    if settings.auth.mode == "none":
        return "`only` needs to know the user: set `auth.mode` to another value than `none`"
    if settings.store == "none":
        return "`only` needs a store for the keys: set `store` to another value than `none`"
    if settings.auth.encryption_key is None:
        return "`only` needs `auth.encryption_key`, with which the keys are stored; set it"
    return ""
