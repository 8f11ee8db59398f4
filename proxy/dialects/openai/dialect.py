"""The OpenAI dialect: requests and answers pass through with the fewest edits that routing and the model need.

Compatible providers are rows of configuration: their base URL, the name of the credential's header and Azure's
`api-version` are settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from urllib.parse import urlencode

from proxy.core.body import overlaid
from proxy.core.call import Call
from proxy.core.clock import Clock
from proxy.core.dialects import DIALECTS
from proxy.core.failures import UpstreamFailure
from proxy.core.model import Provider, ProviderKey
from proxy.core.plan import Target
from proxy.core.recall import Recall
from proxy.core.usage import UNKNOWN_WINDOW, UsageBounds, asking, bounds_of, service_of
from proxy.core.wire import UpstreamRequest
from proxy.dialects.base import Decoder, Dialect
from proxy.dialects.model_lists import list_request
from proxy.dialects.openai.errors import failure as classify
from proxy.dialects.openai.passed import PassedBytes, PassedEvents, PassedJson, PassedText
from proxy.dialects.openai.plain import JsonDecoder, NotAStream
from proxy.dialects.openai.request import FORMS, RequestBuilder
from proxy.dialects.openai.stream import StreamDecoder
from proxy.dialects.openai.unlabelled import BodyOrEvents

_TEXTS = ("text", "srt", "vtt")  # forms of a transcription that are no JSON
_NO_STREAM = ("application/json", "text/html")


class OpenAIDialect(RequestBuilder):
    """Passes requests and answers through."""

    translates = False
    passed: tuple[str, ...] = ("openai-",)

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
        deployment, spans = target.deployment, call.spans
        if call.endpoint == "chat" and spans and "service_tier" not in spans and not target.overrides:
            window = deployment.context_window or UNKNOWN_WINDOW
            bounds = UsageBounds(window, deployment.max_output or window, exact=partial(_bounds, call, target))
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
