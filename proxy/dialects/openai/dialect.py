"""The OpenAI dialect: requests and answers pass through with the fewest edits that routing and the model need.

Compatible providers are rows of configuration: their base URL, the name of the credential's header and Azure's
`api-version` are settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from urllib.parse import quote, urlencode

from proxy.core.body import overlaid
from proxy.core.call import Call
from proxy.core.clock import Clock
from proxy.core.dialects import DIALECTS
from proxy.core.errors import InvalidRequest
from proxy.core.failures import UpstreamFailure
from proxy.core.model import EMPTY, Deployment, Provider, ProviderKey
from proxy.core.plan import Target
from proxy.core.recall import Recall
from proxy.core.usage import UNKNOWN_WINDOW, UsageBounds, asking, bounds_of, service_of
from proxy.core.wire import UpstreamRequest
from proxy.dialects.base import Decoder, Dialect
from proxy.dialects.credential import credential
from proxy.dialects.model_lists import list_request
from proxy.dialects.openai.edits import FORMS, Prepared, edited_body
from proxy.dialects.openai.errors import failure as classify
from proxy.dialects.openai.history import members_of
from proxy.dialects.openai.parameters import EFFORT, to_json
from proxy.dialects.openai.passed import PassedBytes, PassedEvents, PassedJson, PassedText
from proxy.dialects.openai.plain import JsonDecoder, NotAStream
from proxy.dialects.openai.stream import StreamDecoder
from proxy.dialects.openai.unlabelled import BodyOrEvents
from proxy.dialects.refused import pairs_of

MAX_PREPARED = 512

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
_SHARED = ("accept", "content-type")  # headers of clients that have few values
_EDITED = frozenset(("router", EFFORT))
_EVERY = frozenset(("model",))  # every body has this member
_TEXTS = ("text", "srt", "vtt")  # forms of a transcription that are no JSON
_NO_STREAM = ("application/json", "text/html")


class OpenAIDialect:
    """Passes requests and answers through. What requests have in common is kept for the configuration in force."""

    translates = False
    passed: tuple[str, ...] = ("openai-",)

    def __init__(self) -> None:
        self._prepared: dict[tuple[object, ...], Prepared] = {}

    def request(self, call: Call, target: Target, key: ProviderKey | None) -> UpstreamRequest:
        """Return the request of one attempt.

        `model` is replaced, `router` removed, `stream_options` added where streams are asked for their usage.
        Parameters that the model does not accept are removed. Raises `InvalidRequest` where that would change the
        answer's meaning, and for an endpoint that the mock does not have.
        """
        deployment, headers, spans = target.deployment, call.headers, call.spans
        accept, content_type = headers.get("accept"), headers.get("content-type")
        kind = (id(deployment), id(key), call.endpoint, call.stream, accept, content_type)
        prepared = self._prepared.get(kind) or self._prepare(kind, call, deployment, key)
        if (
            "model" not in spans
            or not prepared.edited.isdisjoint(spans)
            or target.overrides
            or call.native is not None
            or call.hosted
            or call.options.disable_thinking
            or call.principal.models
            or call.messages.replayed
        ):
            content, dropped, asks_usage = edited_body(call, target, prepared)
        else:  # at most the model's name differs
            content, dropped, asks_usage = call.raw, (), False
            if call.model != deployment.model:
                view, model = memoryview(content), spans["model"]
                content = b"".join((view[: model.value], prepared.model, view[model.end :]))
        provider = deployment.provider
        return UpstreamRequest(
            prepared.url,
            prepared.headers,
            content,
            deployment.timeouts.connect,
            provider.proxy,
            provider.ca,
            mock=provider.mock,
            dropped=dropped,
            asks_usage=asks_usage,
            extra_headers=EMPTY if headers.keys() <= prepared.headers.keys() else _extra(headers, prepared.headers),
        )

    def _prepare(
        self, kind: tuple[object, ...], call: Call, deployment: Deployment, key: ProviderKey | None
    ) -> Prepared:
        """Prepare this kind of request. The result refers to `deployment` and `key`, so that their ids stay theirs."""
        if len(self._prepared) >= MAX_PREPARED:
            self._prepared.clear()
        prepared = self._prepared[kind] = _prepared(call, deployment, key)
        return prepared

    def failure(self, status: int, headers: Mapping[str, str], body: bytes, now: float) -> UpstreamFailure:
        """Return the failure of an answer that is not a 2xx."""
        return classify(status, headers, body, now)

    def model_list(self, provider: Provider, key: ProviderKey | None) -> UpstreamRequest | None:
        """Return the request for `/models`; Azure's list is beside its deployments. None if no list is known."""
        base = provider.base_url.rstrip("/").partition("/deployments/{model}")[0]
        if DIALECTS[provider.dialect].local or "{model}" in base:
            return None
        version = "?" + urlencode({"api-version": provider.api_version}) if provider.api_version else ""
        return list_request(provider, key, f"{base}/models{version}")

    def decoder(self, call: Call, target: Target, headers: Mapping[str, str]) -> Decoder:
        """Return the decoder for one answer."""
        deployment = target.deployment
        if call.endpoint == "chat" and not target.overrides and "service_tier" not in call.spans:
            window = deployment.context_window or UNKNOWN_WINDOW
            bounds = UsageBounds(window, deployment.max_output or window, None, partial(_bounds, call, target))
            if not call.stream:
                return JsonDecoder(bounds)
        else:
            bounds = _bounds(call, target)
        if call.endpoint not in ("chat", "completions"):
            return _passed(call, headers, bounds)
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


def _prepared(call: Call, deployment: Deployment, key: ProviderKey | None) -> Prepared:
    if deployment.provider.dialect == "mock" and call.endpoint != "chat":
        raise InvalidRequest(f"`{deployment.name}`: the mock answers chat completions only.", param="model")
    provider, unsupported = deployment.provider, deployment.unsupported
    members = members_of(unsupported) if call.endpoint == "chat" else ()
    is_text = call.endpoint in ("chat", "completions")
    edited = _EDITED.union(*(rule.split("+") for rule in unsupported))
    return Prepared(
        deployment,
        key,
        url=url_of(provider, deployment.model, _PATHS[call.endpoint]),
        headers=_headers(call, provider, key),
        model=to_json(deployment.model),
        asks_usage=is_text and provider.stream_usage == "ask" and "stream_options" not in unsupported,
        pairs=pairs_of(unsupported),
        members=members,
        edited=_EVERY if call.stream or members or call.endpoint in FORMS else edited,
    )


def url_of(provider: Provider, model: str, path: str) -> str:
    """Return the URL of an endpoint."""
    base = provider.base_url.replace("{model}", quote(model, safe=""))
    query = "?" + urlencode({"api-version": provider.api_version}) if provider.api_version else ""
    return base + path + query


def _headers(call: Call, provider: Provider, key: ProviderKey | None) -> dict[str, str]:
    """Return the headers that do not depend on the client, except for `accept` and `content-type`."""
    headers = {
        "accept": "text/event-stream" if call.stream else "*/*" if call.kind == "audio" else "application/json",
        **{name: call.headers[name] for name in _SHARED if name in call.headers},
        **{name.lower(): value for name, value in provider.headers.items()},
        "accept-encoding": "identity",
    }
    if call.endpoint not in FORMS and "json" not in headers.get("content-type", ""):
        headers["content-type"] = "application/json"  # curl says that it sends a form
    return headers | credential(provider, key)


def _extra(headers: Mapping[str, str], prepared: Mapping[str, str]) -> Mapping[str, str]:
    """Return the client's headers that are not prepared; the provider's own have priority."""
    return {name: value for name, value in headers.items() if name not in prepared}


def _bounds(call: Call, target: Target) -> UsageBounds:
    """Return the bounds of the answer to a request."""
    body = overlaid(call.body, target.overrides) if target.overrides else call.body
    bounds = bounds_of(target.deployment, body, len(call.raw))
    tier = body.get("service_tier")
    if tier is None or "service_tier" in target.deployment.unsupported:
        return bounds
    return asking(bounds, service_of(tier))


def _prompts(call: Call) -> int:
    """Return the number of prompts of a text completion: a list of token numbers is one."""
    prompt = call.body.get("prompt") if call.endpoint == "completions" else None
    several = isinstance(prompt, list) and bool(prompt) and not isinstance(prompt[0], int)
    return len(prompt) if isinstance(prompt, list) and several else 1


def _passed(call: Call, headers: Mapping[str, str], bounds: UsageBounds) -> Decoder:
    """Return the decoder of an endpoint without choices. Only audio, and text made of it, may have any content type."""
    kind = headers.get("content-type", "").lower()
    may_stream = call.stream or call.kind in ("audio", "image")
    if may_stream and kind.startswith("text/event-stream"):
        return PassedEvents(bounds)
    as_text = call.body.get("response_format") in _TEXTS or kind.startswith("text/plain")
    if call.endpoint in FORMS and as_text and not kind.startswith("text/html"):
        return PassedText()
    if call.endpoint == "speech" and not kind.startswith(_NO_STREAM):
        return PassedBytes()
    body = PassedJson(call.endpoint, bounds, least=_inputs(call))
    return BodyOrEvents(body, PassedEvents(bounds)) if call.stream else body


def _inputs(call: Call) -> int:
    """Return the number of inputs of an embeddings call, each of which gets a vector: texts, or lists of numbers."""
    inputs = call.body.get("input")
    if call.endpoint != "embeddings" or not isinstance(inputs, list):
        return 1
    return 1 if not inputs or isinstance(inputs[0], int) else len(inputs)
