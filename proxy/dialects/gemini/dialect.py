"""Gemini dialect: translates OpenAI chat calls to `generateContent` of Google AI Studio or Vertex AI.

`base_url` may end with the API's version or omit it; for Vertex (`vertex: true`) it ends with
`.../publishers/google`. The key's header is the provider's `auth_header`: the configuration makes it `x-goog-api-key`,
or `authorization` for Vertex, whose credential is an access token.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from proxy.core.call import Call
from proxy.core.clock import Clock
from proxy.core.errors import InvalidRequest
from proxy.core.failures import UpstreamFailure
from proxy.core.model import Provider, ProviderKey
from proxy.core.plan import Target
from proxy.core.recall import Recall
from proxy.core.usage import bounds_of
from proxy.core.wire import UpstreamRequest
from proxy.dialects.base import Decoder, Dialect
from proxy.dialects.credential import credential
from proxy.dialects.gemini.embeddings import EmbeddingsDecoder, embeddings_request
from proxy.dialects.gemini.errors import failure as classify
from proxy.dialects.gemini.request import native_body
from proxy.dialects.gemini.stream import GeminiDecoder
from proxy.dialects.gemini.structure import structure_of
from proxy.dialects.gemini.tools import names_of
from proxy.dialects.gemini.usage import asking_for
from proxy.dialects.memory import Memory
from proxy.dialects.model_lists import list_request
from proxy.dialects.refused import request_body
from proxy.dialects.schema.forms import Forms
from proxy.dialects.writer import AnswerWriter, answer_id, is_legacy

_VERSIONS = ("/v1", "/v1beta", "/v1alpha", "/v1beta1")
_COLLECTIONS = ("models", "tunedModels")


class GeminiDialect:
    """Translator. `recall` stores thought signatures for clients that do not send them back."""

    translates = True
    passed: tuple[str, ...] = ("openai-",)

    def __init__(self, recall: Recall, clock: Clock) -> None:
        self._recall = recall
        self._clock = clock
        self._forms = Forms()

    def request(self, call: Call, target: Target, key: ProviderKey | None) -> UpstreamRequest:
        """Return the attempt's request. Raises `InvalidRequest` if Gemini's API does not support it."""
        deployment = target.deployment
        provider = deployment.provider
        body = {**call.body, **target.overrides}
        if call.endpoint == "embeddings" and provider.vertex:
            message = f"`{deployment.name}`: embeddings of Vertex AI are not supported; use AI Studio."
            raise InvalidRequest(message, param="model")
        if call.endpoint == "embeddings":
            method, bodies, dropped = embeddings_request(body, deployment.model)
        elif call.endpoint == "chat":
            no_thinking = call.options.disable_thinking
            recalled = Memory(self._recall, call, deployment).find
            native, dropped = native_body(body, deployment, recalled, self._forms, disable_thinking=no_thinking)
            if call.hosted:
                from proxy.dialects.gemini.hosted import add_hosted  # few calls need it

                dropped += add_hosted(native, call.hosted, deployment, call.forced)
            bodies = [native]
            method = "streamGenerateContent?alt=sse" if call.stream else "generateContent"
        else:
            message = f"`{deployment.name}`: Gemini's API has no {call.endpoint}; choose a model of another provider."
            raise InvalidRequest(message, param="model")
        content, *further = map(request_body, bodies)
        return UpstreamRequest(
            url=model_url(provider, deployment.model, method),
            headers=headers(call, provider, key),
            content=content,
            further=tuple(further),
            connect_timeout=deployment.timeouts.connect,
            proxy=provider.proxy,
            ca=provider.ca,
            mock=provider.mock,
            dropped=dropped,
        )

    def failure(self, status: int, headers: Mapping[str, str], body: bytes, now: float) -> UpstreamFailure:
        """Classify an answer that is not a 2xx."""
        return classify(status, headers, body, now)

    def model_list(self, provider: Provider, key: ProviderKey | None) -> UpstreamRequest | None:
        """Return the request for `/v1beta/models`; Vertex has no such list."""
        if provider.vertex:
            return None
        return list_request(provider, key, f"{_versioned(provider)}/models?pageSize=1")

    def decoder(self, call: Call, target: Target, headers: Mapping[str, str]) -> Decoder:
        """Return a decoder for one answer. The type is detected from the body, not from `headers`."""
        body = {**call.body, **target.overrides}
        bounds = asking_for(bounds_of(target.deployment, body, len(call.raw)), headers, None)
        if call.endpoint == "embeddings":
            return EmbeddingsDecoder(body, target.deployment.model, bounds)
        choices = body.get("n")
        writer = AnswerWriter(
            id=answer_id(call.id),
            created=int(self._clock.time()),
            model=target.deployment.model,
            stream=call.stream,
            usage_asked=call.usage_asked,
            functions=is_legacy(body),
            bounds=bounds,
            seed=call.raw,
            searches=bool(call.hosted),
        )
        keep = Memory(self._recall, call, target.deployment).keep
        names, structure = None, None
        if body.get("tools") or body.get("functions"):
            structure = structure_of(body, target.deployment, self._forms)
            names = names_of(body, structure)
        choices = choices if isinstance(choices, int) else 1
        return GeminiDecoder(writer, keep, names, structure, stream=call.stream, choices=choices)


def build(recall: Recall, clock: Clock) -> Dialect:
    """Return the translator."""
    return GeminiDialect(recall, clock)


def model_url(provider: Provider, model: str, method: str) -> str:
    """Return the URL of a model's method, such as `generateContent`."""
    collection, slash, name = model.partition("/")
    if not slash or collection not in _COLLECTIONS:
        collection, name = "models", model
    return f"{_versioned(provider)}/{collection}/{quote(name, safe='')}:{method}"


def _versioned(provider: Provider) -> str:
    """Return the base URL with the API's version at its end; Vertex's has one inside."""
    base = provider.base_url.rstrip("/")
    return base if provider.vertex or base.endswith(_VERSIONS) else f"{base}/v1beta"


def headers(call: Call, provider: Provider, key: ProviderKey | None) -> dict[str, str]:
    """Return the request's headers: those of the client that are forwarded, the provider's, and the credential."""
    return {
        **call.headers,
        "content-type": "application/json",
        "accept": "text/event-stream" if call.stream else "application/json",
        **{name.lower(): value for name, value in provider.headers.items()},
        "accept-encoding": "identity",
        **credential(provider, key),
    }
