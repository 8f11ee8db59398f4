"""Filters that remove secrets from the answers of providers; see `proxy/core/clean.py`."""

from __future__ import annotations

from base64 import b64encode
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from urllib.parse import unquote, urlsplit

from proxy.core.clean import Cleaner
from proxy.core.model import Provider, ProviderKey

# Configured headers without secrets, whose values may appear in errors.
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


MAX_USERS = 256  # whose filters are kept


class Cleaners:
    """The filters by provider, built once per version of its settings. `own` are secrets of the proxy itself."""

    def __init__(self, own: Iterable[str] = ()) -> None:
        self._own = tuple(own)
        self._cleaners: dict[str, tuple[Provider, Cleaner]] = {}
        self._of_users: OrderedDict[tuple[str, str], tuple[Provider, Cleaner]] = OrderedDict()  # by provider and key id

    def of(self, provider: Provider) -> Cleaner:
        """Return the filter for the texts of `provider`, which may be one with a user's own key."""
        entry = self._cleaners.get(provider.name)
        if entry is not None and entry[0] is provider:
            return entry[1]
        own = provider.own_key
        if own is not None:
            return self._of_user(provider, own)
        cleaner = self._new(provider)
        self._cleaners[provider.name] = provider, cleaner
        return cleaner

    def _of_user(self, provider: Provider, own: ProviderKey) -> Cleaner:
        """Return the filter for one user; those of the users that called last are kept."""
        place = provider.name, own.id
        entry = self._of_users.get(place)
        if entry is None or entry[0] is not provider:
            entry = self._of_users[place] = provider, self._new(provider)
        self._of_users.move_to_end(place)
        while len(self._of_users) > MAX_USERS:
            self._of_users.popitem(last=False)
        return entry[1]

    def _new(self, provider: Provider) -> Cleaner:
        return Cleaner([*self._own, *(key.value for key in provider.keys)], _others(provider))


def _others(provider: Provider) -> Iterator[str]:
    for name, value in provider.headers.items():
        if name.lower() not in PUBLIC_HEADERS:
            yield value
            yield value.strip().rpartition(" ")[2]
    for url in (provider.proxy, provider.base_url):
        yield from _of_url(url or "")


def _of_url(url: str) -> Iterator[str]:
    """Yield the credentials in a URL, escaped, unescaped and encoded for the header."""
    userinfo, at, _ = urlsplit(url).netloc.rpartition("@")
    if not at:
        return
    user, _, password = userinfo.partition(":")
    yield userinfo
    yield from (password, unquote(password), unquote(user))
    yield b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
