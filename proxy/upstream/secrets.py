"""The secrets that are removed from each provider's answers: see `proxy/core/clean.py`."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator
from urllib.parse import unquote, urlsplit

from proxy.core.clean import Cleaner
from proxy.core.model import Provider

# Configured headers that hold no secret, and whose values an error may well repeat.
PUBLIC_HEADERS = frozenset(
    {
        "accept",
        "anthropic-beta",
        "anthropic-version",
        "content-type",
        "http-referer",
        "openai-beta",
        "user-agent",
        "x-title",
    }
)


class Cleaners:
    """The filter of each provider, made once for each version of it. `own` are secrets of the proxy itself."""

    def __init__(self, own: Iterable[str] = ()) -> None:
        self._own = tuple(own)
        self._made: dict[str, tuple[Provider, Cleaner]] = {}

    def of(self, provider: Provider) -> Cleaner:
        """The filter for what `provider` sends."""
        made = self._made.get(provider.name)
        if made is None or made[0] is not provider:
            keys = [*self._own, *(key.value for key in provider.keys)]
            made = self._made[provider.name] = provider, Cleaner(keys, _others(provider))
        return made[1]


def _others(provider: Provider) -> Iterator[str]:
    for name, value in provider.headers.items():
        if name.lower() not in PUBLIC_HEADERS:
            yield value
            yield value.strip().rpartition(" ")[2]
    for url in (provider.proxy, provider.base_url):
        yield from _of_url(url or "")


def _of_url(url: str) -> Iterator[str]:
    """The credentials in a URL, as they stand there and as they are sent."""
    userinfo, at, _ = urlsplit(url).netloc.rpartition("@")
    if not at:
        return
    user, _, password = userinfo.partition(":")
    yield userinfo
    yield from (password, unquote(password), unquote(user))
    yield b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
