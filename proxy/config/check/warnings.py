"""Warnings about valid settings that have no effect or are probably mistakes.

They are warnings, not errors, because the behaviour is well defined: the shorter time applies. Only values in the file
are reported, not defaults, and not a general time that a more specific one shortens.
"""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from proxy.catalogue.lookup import vendor_of
from proxy.config.check.addresses import implausible, implausible_proxy
from proxy.config.check.credentials import credential_warnings
from proxy.config.check.validate import Finding
from proxy.config.settings.learning import LearningSettings
from proxy.config.settings.models import ModelSettings, TimeoutOverrides
from proxy.config.settings.providers import ProviderSettings, TimeoutSettings
from proxy.config.settings.schema import Settings
from proxy.config.yaml.read import Path
from proxy.core.dialects import DIALECTS

_IDLE = 64 * 1024 * 1024  # bytes that an idle process may use
_LOWEST_PRICE = Decimal("0.0005")  # USD per million tokens; the cheapest embeddings cost some 0.005


def value_warnings(settings: Settings) -> Iterator[Finding]:
    """Warnings about single settings that have no effect, are implausible or give wide access."""
    if "*" in settings.server.cors.origins:
        message = "contains `*`, which lets every web page use this service; list the origins of your own pages"
        yield Finding(("server", "cors", "origins"), message)
    if 0 < settings.server.memory_watermark < _IDLE:
        message = "is less than an idle process uses; new calls would always be rejected; write it with a unit (`1GiB`)"
        yield Finding(("server", "memory_watermark"), message)
    deadline = settings.resilience.deadline
    if "soft" in deadline.model_fields_set and deadline.soft > deadline.hard:
        message = "is longer than `hard`, so it is never reached; shorten it or raise `hard`"
        yield Finding(("resilience", "deadline", "soft"), message)
    if re.match(r"~|.*\$\{?[A-Za-z_]", settings.data_dir):
        yield Finding(("data_dir",), "contains `~` or `$`, which is not expanded; write `${HOME}/...`")
    if settings.auth.encryption_key is None and (settings.store.startswith("postgres") or settings.state != "memory"):
        message = (
            "is not set, so sealed reasoning (`encrypted_content`, signatures) is lost at a restart and between "
            "replicas; set the same key for all of them"
        )
        yield Finding(("auth", "encryption_key"), message)
    yield from _learning(settings.learning)
    for name, provider in settings.providers.items():
        yield from _timeouts(("providers", name), provider.timeouts, provider.timeouts.total)
    for index, model in enumerate(settings.models):
        of_provider = settings.providers[model.id.partition("/")[0]].timeouts
        total = of_provider.total if model.timeouts.total is None else model.timeouts.total
        yield from _timeouts(("models", index), model.timeouts, total)
        yield from _numbers(("models", index), model)


def _learning(learning: LearningSettings) -> Iterator[Finding]:
    if "enabled" in learning.model_fields_set:
        return
    parts = {"signals": learning.signals, "comments": learning.comments, "explore": learning.explore}
    for name, value in {**parts, "judge": learning.judge.model}.items():
        if value:
            message = "has no effect without `learning.enabled: true`; add it, or remove this"
            yield Finding(("learning", name), message)


def _timeouts(path: Path, timeouts: TimeoutSettings | TimeoutOverrides, total: float) -> Iterator[Finding]:
    for name in ("connect", "first_token", "idle"):
        value = getattr(timeouts, name)
        if name in timeouts.model_fields_set and value is not None and value > total:
            message = "is longer than `total`, which limits the whole attempt; shorten it or raise `total`"
            yield Finding((*path, "timeouts", name), message)


def _numbers(path: Path, model: ModelSettings) -> Iterator[Finding]:
    """Warnings about implausible prices and sizes of a model."""
    for name in ("input", "output") if model.price else ():
        if 0 < getattr(model.price, name) < _LOWEST_PRICE:
            message = "is in USD per million tokens but looks like a price per token; multiply it by 1000000"
            yield Finding((*path, "price", name), message)
    if model.max_output is not None and model.context_window is not None and model.max_output > model.context_window:
        yield Finding(
            (*path, "max_output"), "is more than `context_window`, which limits prompt and answer together; lower it"
        )


def address_warnings(data: Mapping[str, Any], settings: Settings) -> Iterator[Finding]:
    """Warnings about the addresses, proxies and credentials of providers."""
    yield from credential_warnings(data)
    for name, provider in settings.providers.items():
        path: Path = ("providers", name)
        written = data["providers"][name] if isinstance(data["providers"][name], Mapping) else {}
        yield from _address(path, written, provider, settings)
        if provider.proxy is not None and (problem := implausible_proxy(provider.proxy.get_secret_value())):
            yield Finding((*path, "proxy"), problem)
        vendor = vendor_of(provider.address)
        if vendor is not None and not provider.keys and not _has_credential(provider):
            yield Finding(path, f"has no `keys`, but {vendor.name} rejects calls without one; add a key")


def _address(
    path: Path, written: Mapping[str, Any], provider: ProviderSettings, settings: Settings
) -> Iterator[Finding]:
    raw = written.get("base_url")
    public = DIALECTS[provider.dialect].default_url
    if "base_url" in written and not raw and public is not None:
        yield Finding(
            (*path, "base_url"), f"is empty, so calls go to `{public}`; set the address, or remove the setting"
        )
    if provider.base_url is None:
        return
    if isinstance(raw, str) and raw != raw.strip():
        yield Finding((*path, "base_url"), "has white space around it, which is removed")
    problem = implausible(
        provider.base_url, provider.dialect, vertex=provider.vertex, api_version=provider.api_version
    ) or _own_address(provider.base_url, settings)
    if problem:
        yield Finding((*path, "base_url"), problem)


def _own_address(url: str, settings: Settings) -> str | None:
    """Warn of a provider whose address is that of Signalbox itself, which would loop."""
    parts, server = urlsplit(url), settings.server
    here = ("127.0.0.1", "localhost", "::1", "0.0.0.0", "::", server.host)
    if server.port and parts.hostname in here and parts.port == server.port:
        return "is the address of Signalbox itself (`server.host` and `server.port`); set that of the provider"
    return None


def _has_credential(provider: ProviderSettings) -> bool:
    headers = {"api-key", *(row.key_header for row in DIALECTS.values())}
    return not headers.isdisjoint(provider.headers)
