"""Compiles the section `providers`: usable keys, addresses, certificates, and stand-ins for providers without keys."""

from collections.abc import Iterator

from proxy.config.errors import ConfigError, Problem
from proxy.config.settings.certificates import certificates
from proxy.config.settings.keys import KeySettings, LimitSettings
from proxy.config.settings.providers import ProviderSettings, TimeoutSettings
from proxy.config.settings.schema import Settings
from proxy.config.yaml.expand import Unset
from proxy.core.model import LimitValues, MockOptions, Provider, ProviderKey, Timeouts


def compile_providers(settings: Settings) -> tuple[dict[str, Provider], dict[str, str]]:
    """The usable providers by name, and the reason why each other one is left out.

    A provider whose keys are all unset is left out, or replaced by a mock with `mock_when_no_keys`.
    """
    providers: dict[str, Provider] = {}
    left_out: dict[str, str] = {}
    for name, given in settings.providers.items():
        keys = tuple(_keys(given))
        if keys or not given.keys:
            providers[name] = _provider(name, given, keys)
        elif settings.mock_when_no_keys:
            providers[name] = _stand_in(name, given)
        else:
            left_out[name] = _no_key(given.keys)
    return providers, left_out


def compile_limits(given: LimitSettings) -> LimitValues | None:
    """The limits; None if none is set."""
    values = given.model_dump(exclude_none=True)
    return LimitValues(**values) if values else None


def _keys(given: ProviderSettings) -> Iterator[ProviderKey]:
    for key in given.keys:
        if not isinstance(key.value, Unset):
            yield ProviderKey(
                id=key.id, value=key.value.get_secret_value(), weight=key.weight, limits=compile_limits(key.limits)
            )


def _no_key(keys: tuple[KeySettings, ...]) -> str:
    names = [name for key in keys if isinstance(key.value, Unset) for name in key.value.variables]
    return f"no key is set ({', '.join(dict.fromkeys(names))})" if names else "no key is set"


def _provider(name: str, given: ProviderSettings, keys: tuple[ProviderKey, ...]) -> Provider:
    mock = None
    if given.dialect == "mock":
        mock = MockOptions(
            seed=given.seed,
            latency=given.latency,
            tokens=given.tokens,
            failure_rate=given.failure_rate,
            faults=given.faults,
        )
    return Provider(
        name=name,
        dialect=given.dialect,
        base_url=given.address or "",
        keys=keys,
        auth_header=given.key_header,
        api_version=given.api_version,
        any_model=given.any_model,
        headers={header: value.get_secret_value() for header, value in given.headers.items()},
        proxy=None if given.proxy is None else given.proxy.get_secret_value(),
        ca=None if given.ca_file is None else _certificates(name, given.ca_file),
        stream_usage=given.stream_usage,
        timeouts=_timeouts(given.timeouts),
        mock=mock,
        prompt_cache=given.prompt_cache,
        vertex=given.vertex,
    )


def _certificates(provider: str, path: str) -> str:
    try:
        return certificates(path)
    except ValueError as exc:  # the file has changed since the configuration was checked
        raise ConfigError([Problem(path, None, f"providers.{provider}.ca_file", str(exc))]) from None


def _stand_in(name: str, given: ProviderSettings) -> Provider:
    """A mock with the name of a provider without keys; it never contacts the real provider."""
    return Provider(
        name=name,
        dialect="mock",
        base_url="",
        any_model=given.any_model,
        timeouts=_timeouts(given.timeouts),
        mock=MockOptions(),
        stand_in=True,
        stand_in_reason=_no_key(given.keys),
    )


def _timeouts(given: TimeoutSettings) -> Timeouts:
    return Timeouts(**given.model_dump())
