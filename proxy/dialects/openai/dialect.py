"""The OpenAI Chat Completions dialect: bytes through, with the fewest edits that routing and the model need.

Every compatible provider is a row of configuration, not a class: what differs (base URL, the name of the credential's
header, Azure's `api-version`) comes from the provider's settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode

from proxy.core.body import parse
from proxy.core.call import Call
from proxy.core.clock import Clock
from proxy.core.dialects import DIALECTS
from proxy.core.errors import InvalidRequest
from proxy.core.failures import UpstreamFailure
from proxy.core.model import Deployment, Provider, ProviderKey
from proxy.core.plan import Target
from proxy.core.recall import Recall
from proxy.core.spans import Span, edit
from proxy.core.usage import UsageBounds, bounds_of
from proxy.core.wire import UpstreamRequest
from proxy.dialects.base import Decoder, Dialect
from proxy.dialects.credential import credential
from proxy.dialects.model_lists import list_request
from proxy.dialects.openai.errors import failure as classify
from proxy.dialects.openai.history import edited_messages
from proxy.dialects.openai.parameters import Edits, edits_of, to_json
from proxy.dialects.openai.passed import PassedBytes, PassedEvents, PassedJson, PassedText
from proxy.dialects.openai.plain import JsonDecoder, NotAStream
from proxy.dialects.openai.stream import StreamDecoder
from proxy.dialects.openai.unlabelled import BodyOrEvents

_PATHS = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "embeddings": "/embeddings",
    "moderations": "/moderations",
    "images": "/images/generations",
    "speech": "/audio/speech",
    "transcriptions": "/audio/transcriptions",
    "translations": "/audio/translations",
}
_FORMS = ("transcriptions", "translations")
_TEXTS = ("text", "srt", "vtt")  # forms of a transcription that are no JSON
_NO_STREAM = ("application/json", "text/html")


class OpenAIDialect:
    """Identity: what the client sent is what the upstream gets."""

    translates = False

    def request(self, call: Call, target: Target, key: ProviderKey | None) -> UpstreamRequest:
        """The client's bytes with `model` replaced, `router` cut, `stream_options` where we ask for usage, and without
        the parameters that the model refuses."""
        deployment = target.deployment
        provider = deployment.provider
        if provider.dialect == "mock" and call.endpoint != "chat":
            raise InvalidRequest(f"`{deployment.name}`: the mock answers chat completions only.", param="model")
        content, dropped, asks = _content(call, target)
        return UpstreamRequest(
            url=_url(provider, deployment.model, _PATHS[call.endpoint]),
            headers=_headers(call, provider, key),
            content=content,
            connect_timeout=deployment.timeouts.connect,
            proxy=provider.proxy,
            ca=provider.ca,
            mock=provider.mock,
            dropped=dropped,
            asks_usage=asks,
        )

    def failure(self, status: int, headers: Mapping[str, str], body: bytes, now: float) -> UpstreamFailure:
        """Classify an answer that is not a 2xx."""
        return classify(status, headers, body, now)

    def model_list(self, provider: Provider, key: ProviderKey | None) -> UpstreamRequest | None:
        """Return the request for `/models`; Azure's list is beside its deployments. None if no list is known."""
        base = provider.base_url.rstrip("/").partition("/deployments/{model}")[0]
        if DIALECTS[provider.dialect].local or "{model}" in base:
            return None
        version = "?" + urlencode({"api-version": provider.api_version}) if provider.api_version else ""
        return list_request(provider, key, f"{base}/models{version}")

    def decoder(self, call: Call, target: Target, headers: Mapping[str, str]) -> Decoder:
        """A decoder for one answer."""
        if call.endpoint not in ("chat", "completions"):
            return _passed(call, headers, _bounds(call, target))
        bounds = _bounds(call, target)
        if not call.stream:
            return JsonDecoder(bounds) if call.endpoint == "chat" else PassedJson(call.endpoint, bounds)
        choices = target.overrides.get("n", call.body.get("n"))
        stream = StreamDecoder(
            choices=(choices if isinstance(choices, int) else 1) * _prompts(call),
            drop_usage=not call.usage_asked and target.deployment.provider.stream_usage == "ask",
            bounds=bounds,
        )
        labelled = headers.get("content-type", "").lower().startswith(_NO_STREAM)
        return BodyOrEvents(NotAStream(), stream) if labelled else stream


def build(recall: Recall, clock: Clock) -> Dialect:
    """Return the translator, which needs neither memory nor clock."""
    return OpenAIDialect()


def _url(provider: Provider, model: str, path: str) -> str:
    base = provider.base_url.replace("{model}", quote(model, safe=""))
    query = "?" + urlencode({"api-version": provider.api_version}) if provider.api_version else ""
    return base + path + query


def _headers(call: Call, provider: Provider, key: ProviderKey | None) -> dict[str, str]:
    headers = {
        "accept": "text/event-stream" if call.stream else "*/*" if call.kind == "audio" else "application/json",
        **call.headers,
        **{name.lower(): value for name, value in provider.headers.items()},
        "accept-encoding": "identity",
    }
    if call.endpoint not in _FORMS and "json" not in headers.get("content-type", ""):
        headers["content-type"] = "application/json"  # curl says that it sends a form
    return headers | credential(provider, key)


def _prompts(call: Call) -> int:
    """How many prompts a text completion has: a list of token numbers is one."""
    prompt = call.body.get("prompt") if call.endpoint == "completions" else None
    several = isinstance(prompt, list) and bool(prompt) and not isinstance(prompt[0], int)
    return len(prompt) if isinstance(prompt, list) and several else 1


def _bounds(call: Call, target: Target) -> UsageBounds:
    body = {**call.body, **target.overrides} if target.overrides else call.body
    return bounds_of(target.deployment, body, len(call.raw))


def _passed(call: Call, headers: Mapping[str, str], bounds: UsageBounds) -> Decoder:
    """Only sound may come in any form, and text that was made of it; a page never is an answer."""
    kind = headers.get("content-type", "").lower()
    may_stream = call.stream or call.kind in ("audio", "image")
    if may_stream and kind.startswith("text/event-stream"):
        return PassedEvents(bounds)
    as_text = call.body.get("response_format") in _TEXTS or kind.startswith("text/plain")
    if call.endpoint in _FORMS and as_text and not kind.startswith("text/html"):
        return PassedText()
    if call.endpoint == "speech" and not kind.startswith(_NO_STREAM):
        return PassedBytes()
    body = PassedJson(call.endpoint, bounds, least=_inputs(call))
    return BodyOrEvents(body, PassedEvents(bounds)) if call.stream else body


def _inputs(call: Call) -> int:
    """How many inputs an embeddings call has, each of which gets a vector: texts, or lists of token numbers."""
    given = call.body.get("input")
    if call.endpoint != "embeddings" or not isinstance(given, list):
        return 1
    return 1 if all(isinstance(item, int) for item in given) else len(given)


def _content(call: Call, target: Target) -> tuple[bytes, tuple[str, ...], bool]:
    """The body, the client's parameters that are not in it any more, and whether it asks for usage on our behalf."""
    deployment = target.deployment
    if call.endpoint in _FORMS:
        return edit(call.raw, call.spans, {"model": deployment.model.encode()}), (), False
    spans = call.spans or parse(call.raw).spans
    edits = edits_of(call, target, spans)
    if call.model != deployment.model:
        edits.write["model"] = to_json(deployment.model)
    if call.endpoint == "chat" and "messages" in spans and "messages" not in edits.write:
        _edit_messages(edits, call, deployment, spans["messages"])
    asks = call.stream and call.endpoint in ("chat", "completions") and not call.usage_asked
    asks = asks and deployment.provider.stream_usage == "ask" and "stream_options" not in deployment.unsupported
    if asks:
        edits.write["stream_options"] = _ask_for_usage(call)
    return edit(call.raw, spans, edits.write, ("router", *edits.cut)), tuple(edits.dropped), asks


def _edit_messages(edits: Edits, call: Call, deployment: Deployment, span: Span) -> None:
    """Cut from the messages what this target does not take."""
    raw = memoryview(call.raw)[span.value : span.end]
    edited = edited_messages(raw, call.body.get("messages"), deployment.unsupported, deployment.provider.base_url)
    if edited is not None:
        edits.write["messages"], names = edited
        edits.dropped += names


def _ask_for_usage(call: Call) -> bytes:
    options = call.body.get("stream_options")
    if not options:
        return b'{"include_usage":true}'
    span = call.spans["stream_options"] if call.spans else parse(call.raw).spans["stream_options"]
    raw = call.raw[span.value : span.end]
    return edit(raw, parse(raw).spans, {"include_usage": b"true"})
