"""The OpenAI Chat Completions dialect: bytes through, with the fewest edits that routing needs.

Every compatible provider is a row of configuration, not a class: what differs (base URL, the name of the credential's
header, Azure's `api-version`) comes from the provider's settings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from proxy.core.body import edit, parse
from proxy.core.failures import UpstreamFailure
from proxy.core.types import Call, Provider, ProviderKey, Target, UpstreamRequest
from proxy.dialects.base import Decoder
from proxy.dialects.openai_errors import failure as classify
from proxy.dialects.openai_json import JsonDecoder, NotAStream
from proxy.dialects.openai_stream import StreamDecoder

_PATHS = {"chat": "/chat/completions"}
_NO_STREAM = ("application/json", "text/html")


class OpenAIDialect:
    """Identity: what the client sent is what the upstream gets."""

    def request(self, call: Call, target: Target, key: ProviderKey | None) -> UpstreamRequest:
        """The client's bytes with `model` replaced, `router` cut, and `stream_options` where we ask for usage."""
        deployment = target.deployment
        provider = deployment.provider
        return UpstreamRequest(
            url=_url(provider, deployment.model, _PATHS[call.endpoint]),
            headers=_headers(call, provider, key),
            content=_content(call, target),
            connect_timeout=deployment.timeouts.connect,
            proxy=provider.proxy,
            mock=provider.mock,
        )

    def failure(self, status: int, headers: Mapping[str, str], body: bytes, now: float) -> UpstreamFailure:
        """Classify an answer that is not a 2xx."""
        return classify(status, headers, body, now)

    def decoder(self, call: Call, target: Target, headers: Mapping[str, str]) -> Decoder:
        """A decoder for one answer."""
        if not call.stream:
            return JsonDecoder()
        if headers.get("content-type", "").lower().startswith(_NO_STREAM):
            return NotAStream()
        choices = target.overrides.get("n", call.body.get("n"))
        return StreamDecoder(
            choices=choices if isinstance(choices, int) else 1,
            drop_usage=not call.usage_asked and target.deployment.provider.stream_usage == "ask",
        )


def _url(provider: Provider, model: str, path: str) -> str:
    base = provider.base_url.replace("{model}", quote(model, safe=""))
    query = "?" + urlencode({"api-version": provider.api_version}) if provider.api_version else ""
    return base + path + query


def _headers(call: Call, provider: Provider, key: ProviderKey | None) -> dict[str, str]:
    headers = {
        "accept": "text/event-stream" if call.stream else "application/json",
        **call.headers,
        **{name.lower(): value for name, value in provider.headers.items()},
        "accept-encoding": "identity",
    }
    if "json" not in headers.get("content-type", ""):
        headers["content-type"] = "application/json"  # curl says that it sends a form
    if key is not None:
        bearer = provider.auth_header.lower() == "authorization"
        headers[provider.auth_header.lower()] = f"Bearer {key.value}" if bearer else key.value
    return headers


def _content(call: Call, target: Target) -> bytes:
    deployment = target.deployment
    spans = call.spans or parse(call.raw).spans
    replace = {name: _json(value) for name, value in target.overrides.items()}
    if call.model != deployment.model:
        replace["model"] = _json(deployment.model)
    if call.stream and not call.usage_asked and deployment.provider.stream_usage == "ask":
        replace["stream_options"] = _ask_for_usage(call)
    return edit(call.raw, spans, replace, ("router",))


def _ask_for_usage(call: Call) -> bytes:
    options = call.body.get("stream_options")
    if not options:
        return b'{"include_usage":true}'
    span = call.spans["stream_options"] if call.spans else parse(call.raw).spans["stream_options"]
    raw = call.raw[span.value : span.end]
    return edit(raw, parse(raw).spans, {"include_usage": b"true"})


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
