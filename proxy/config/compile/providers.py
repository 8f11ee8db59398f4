"""Compiles the section `providers`: usable keys, addresses, certificates, and stand-ins for providers without keys."""

from collections.abc import Iterator

from proxy.config.errors import ConfigError, Problem
from proxy.config.settings.certificates import certificates
from proxy.config.settings.keys import KeySettings, LimitSettings
from proxy.config.settings.providers import ProviderSettings, TimeoutSettings
from proxy.config.settings.schema import Settings
from proxy.config.yaml.expand import Unset
from proxy.core.model import LimitValues, MockOptions, Provider, ProviderKey, Timeouts, UserKeys


def compile_providers(settings: Settings) -> tuple[dict[str, Provider], dict[str, str]]:
    """Return the usable providers by name, and for each other one the reason why it is left out.

    A provider whose keys are all unset is left out, or replaced by a mock with `mock_when_no_keys`; it is usable if
    calls are made with users' own keys only.
    """
    providers: dict[str, Provider] = {}
    left_out: dict[str, str] = {}
    for name, provider in settings.providers.items():
        keys = tuple(_keys(provider))
        user_keys = provider.user_keys or settings.auth.provider_keys if provider.keys else "off"
        if keys or not provider.keys:
            providers[name] = _provider(name, provider, keys, user_keys)
        elif user_keys == "only":
            unused = ProviderKey(id=provider.keys[0].id, value="")
            providers[name] = _provider(name, provider, (unused,), user_keys)
        elif settings.mock_when_no_keys:
            providers[name] = _stand_in(name, provider)
        else:
            left_out[name] = _no_key(provider.keys)
    return providers, left_out


def compile_limits(settings: LimitSettings) -> LimitValues | None:
    """Return the limits; None if none is set."""
    values = settings.model_dump(exclude_none=True)
    return LimitValues(**values) if values else None


def _keys(settings: ProviderSettings) -> Iterator[ProviderKey]:
    for key in settings.keys:
        if not isinstance(key.value, Unset):
            yield ProviderKey(
                id=key.id, value=key.value.get_secret_value(), weight=key.weight, limits=compile_limits(key.limits)
            )


def _no_key(keys: tuple[KeySettings, ...]) -> str:
    names = [name for key in keys if isinstance(key.value, Unset) for name in key.value.variables]
    return f"no key is set ({', '.join(dict.fromkeys(names))})" if names else "no key is set"


def _provider(name: str, settings: ProviderSettings, keys: tuple[ProviderKey, ...], user_keys: UserKeys) -> Provider:
    mock = None
    if settings.dialect == "mock":
        mock = MockOptions(
            seed=settings.seed,
            latency=settings.latency,
            tokens=settings.tokens,
            failure_rate=settings.failure_rate,
            faults=settings.faults,
        )
    return Provider(
        name=name,
        dialect=settings.dialect,
        base_url=settings.address or "",
        keys=keys,
        user_keys=user_keys,
        auth_header=settings.key_header,
        api_version=settings.api_version,
        any_model=settings.any_model,
        headers={header: value.get_secret_value() for header, value in settings.headers.items()},
        proxy=None if settings.proxy is None else settings.proxy.get_secret_value(),
        ca=None if settings.ca_file is None else _certificates(name, settings.ca_file),
        stream_usage=settings.stream_usage,
        timeouts=_timeouts(settings.timeouts),
        mock=mock,
        responses=settings.responses,
        prompt_cache=settings.prompt_cache,
        vertex=settings.vertex,
    )


def _certificates(provider: str, path: str) -> str:
    try:
        return certificates(path)
    except ValueError as exc:  # the file has changed since the configuration was checked
        raise ConfigError([Problem(path, None, f"providers.{provider}.ca_file", str(exc))]) from None


def _stand_in(name: str, settings: ProviderSettings) -> Provider:
    """A mock with the name of a provider without keys; it never contacts the real provider."""
    return Provider(
        name=name,
        dialect="mock",
        base_url="",
        any_model=settings.any_model,
        timeouts=_timeouts(settings.timeouts),
        mock=MockOptions(),
        stand_in=True,
        stand_in_reason=_no_key(settings.keys),
    )


def _timeouts(settings: TimeoutSettings) -> Timeouts:
    return Timeouts(**settings.model_dump())
