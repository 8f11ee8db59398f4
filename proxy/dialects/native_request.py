"""Requests that pass to a target of the same API: the client's bytes, with the fewest edits that routing needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

from proxy.core.call import Call, NativeRequest
from proxy.core.errors import InvalidRequest
from proxy.core.json_text import NotStrict, compact
from proxy.core.model import Provider, ProviderKey
from proxy.core.plan import Target
from proxy.core.spans import edit
from proxy.core.wire import UpstreamRequest
from proxy.dialects.credential import credential

PASSED_HEADERS: tuple[str, ...] = (
    "retry-after",
    "x-should-retry",
    "anthropic-ratelimit-",
)  # of errors, for clients of the same API
_OWN_HEADERS = ("content-type", "accept")  # set by the dialect, not by the client
_CREDENTIALS = frozenset(  # in a query
    {"key", "apikey", "xapikey", "xgoogapikey", "token", "accesstoken", "oauthtoken", "authtoken", "authorization"}
)
_NO_LETTERS = str.maketrans("", "", "-_$. ")


def request_of(call: Call) -> NativeRequest:
    """Return the client's own request. Raises `InvalidRequest` if there is none."""
    if call.native is None:
        raise InvalidRequest("This target only accepts requests in its own format.", param="model")
    return call.native


def native_body(native: NativeRequest, write: Mapping[str, Any], remove: tuple[str, ...] = ()) -> bytes:
    """Return the client's body with the values of `write`, and without the members of `remove` and `router`."""
    if "router" in native.spans:
        remove = (*remove, "router")
    raw, spans = native.raw, native.spans
    try:
        texts = {name: compact(value) for name, value in write.items()}
    except NotStrict as exc:
        raise InvalidRequest("The configuration sets a number that JSON does not have.") from exc
    changed = {name: text for name, text in texts.items() if not _is_same(raw, native, name, text)}
    removed = [name for name in remove if name in spans and name not in changed]
    if not changed and not removed:
        return raw
    if len(removed) == len(spans):
        return b"{" + b",".join(compact(name) + b":" + text for name, text in changed.items()) + b"}"
    return edit(raw, spans, changed, removed)


def settings_of(target: Target, names: Mapping[str, str]) -> tuple[dict[str, Any], list[str], tuple[str, ...]]:
    """Return the target's overrides under their native names: values, removed members, and those without a name.

    `names` are the native names of the parameters of chat completions.
    """
    write: dict[str, Any] = {}
    remove: list[str] = []
    unknown = []
    for name, value in target.overrides.items():
        native = names.get(name)
        if native is None:
            unknown.append(name)
        elif value is None:
            remove.append(native)
        else:
            write[native] = value
    return write, [name for name in remove if name not in write], tuple(unknown)


def native_headers(call: Call, native: NativeRequest, provider: Provider, key: ProviderKey | None) -> dict[str, str]:
    """Return the headers: the client's that are forwarded, those of its API, the provider's, and the credential."""
    return {
        **{name: value for name, value in call.headers.items() if name not in _OWN_HEADERS},
        **native.headers,
        "content-type": "application/json",
        "accept": "text/event-stream" if call.stream else "application/json",
        **{name.lower(): value for name, value in provider.headers.items()},
        "accept-encoding": "identity",
        **credential(provider, key),
    }


def native_query(query: str) -> str:
    """Return the client's query with `?`, without the credentials that it may contain; empty without a query."""
    if not query:
        return ""
    kept = [each for each in query.split("&") if not _is_credential(each.partition("=")[0])]
    return "?" + "&".join(kept) if kept else ""


def _is_credential(name: str) -> bool:
    return unquote_plus(name).lower().translate(_NO_LETTERS) in _CREDENTIALS


def upstream_request(
    target: Target, url: str, headers: Mapping[str, str], content: bytes, dropped: tuple[str, ...]
) -> UpstreamRequest:
    """Return the request to a target."""
    provider = target.deployment.provider
    return UpstreamRequest(
        url=url,
        headers=headers,
        content=content,
        connect_timeout=target.deployment.timeouts.connect,
        proxy=provider.proxy,
        ca=provider.ca,
        dropped=dropped,
    )


def passed_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of an error that clients of the same API read."""
    return {name: value for name, value in headers.items() if name.startswith(PASSED_HEADERS)}


def _is_same(raw: bytes, native: NativeRequest, name: str, text: bytes) -> bool:
    span = native.spans.get(name)
    return span is not None and raw[span.value : span.end] == text
