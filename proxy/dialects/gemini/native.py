"""Calls of Google's API that pass to a Gemini target: the client's bytes out, and the upstream's bytes back.

The model is in the URL; bodies that name it too get the target's. Source: ai.google.dev/api, `models.generateContent`,
`streamGenerateContent`, `countTokens`, `embedContent` and `batchEmbedContents`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.core.body import overlaid
from proxy.core.call import Call, NativeRequest
from proxy.core.clock import Clock
from proxy.core.errors import InvalidRequest
from proxy.core.failures import UpstreamFailure
from proxy.core.model import Provider, ProviderKey
from proxy.core.plan import Target
from proxy.core.recall import Recall
from proxy.core.usage import bounds_of
from proxy.core.wire import UpstreamRequest
from proxy.dialects.base import Decoder, Dialect
from proxy.dialects.gemini.dialect import model_url
from proxy.dialects.gemini.errors import failure as classify
from proxy.dialects.gemini.errors import has_shape
from proxy.dialects.gemini.native_answer import FORMAT, CountedTokens, Embeddings, GenerateBody, GenerateStream
from proxy.dialects.gemini.usage import asking_for
from proxy.dialects.native import kept_error
from proxy.dialects.native_request import (
    PASSED_HEADERS,
    native_body,
    native_headers,
    native_query,
    passed_headers,
    request_of,
    settings_of,
    upstream_request,
)

_EMBEDS = ("embedContent", "batchEmbedContents")
_CONFIG = {  # members of `generationConfig` by the parameters of chat completions
    "max_completion_tokens": "maxOutputTokens",
    "max_tokens": "maxOutputTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "seed": "seed",
    "stop": "stopSequences",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}


class GeminiNative:
    """Passes requests and answers through."""

    translates = False
    passed: tuple[str, ...] = PASSED_HEADERS

    def request(self, call: Call, target: Target, key: ProviderKey | None) -> UpstreamRequest:
        """Return the attempt's request. Raises `InvalidRequest` for embeddings of Vertex AI."""
        native, deployment = request_of(call), target.deployment
        provider = deployment.provider
        if native.operation in _EMBEDS and provider.vertex:
            message = f"`{deployment.name}`: embeddings of Vertex AI are not supported; use AI Studio."
            raise InvalidRequest(message, param="model")
        write, dropped = _settings(native, call, target)
        write |= _models(native, deployment.model)
        return upstream_request(
            target,
            model_url(provider, deployment.model, native.operation) + native_query(native.query),
            native_headers(call, native, provider, key),
            native_body(native, write),
            (*native.dropped, *dropped),
        )

    def failure(self, status: int, headers: Mapping[str, str], body: bytes, now: float) -> UpstreamFailure:
        """Classify an answer that is not a 2xx, and keep its body for the client."""
        failed = kept_error(classify(status, headers, body, now), FORMAT, body, fits=has_shape(body))
        failed.headers = passed_headers(headers)
        return failed

    def model_list(self, provider: Provider, key: ProviderKey | None) -> UpstreamRequest | None:
        """Return nothing: the translating dialect has the list."""
        return None

    def decoder(self, call: Call, target: Target, headers: Mapping[str, str]) -> Decoder:
        """Return a decoder for one answer."""
        native = request_of(call)
        body = overlaid(call.body, target.overrides)
        bounds = bounds_of(target.deployment, body, max(len(call.raw), len(native.raw)))
        if native.operation == "countTokens":
            return CountedTokens()
        bounds = asking_for(bounds, headers, native.member("serviceTier") or native.member("service_tier"))
        if native.operation in _EMBEDS:
            return Embeddings(bounds)
        choices = body.get("n")
        choices = choices if type(choices) is int else 1
        if not call.stream:
            return GenerateBody(bounds)
        return GenerateStream(bounds, choices=choices, events=native.events)


def build(recall: Recall, clock: Clock) -> Dialect:
    """Return the translator, which needs neither memory nor clock."""
    return GeminiNative()


def _models(native: NativeRequest, model: str) -> dict[str, Any]:
    """Return the members of the body that name a model, with the target's name."""
    name = model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
    write: dict[str, Any] = {"model": name} if "model" in native.spans else {}
    requests = native.member("requests")
    if isinstance(requests, list) and any(isinstance(each, dict) and each.get("model") != name for each in requests):
        write["requests"] = [{**each, "model": name} if isinstance(each, dict) else each for each in requests]
    for member in ("generateContentRequest", "generate_content_request"):
        inner = native.member(member)
        if isinstance(inner, dict) and inner.get("model", name) != name:
            write[member] = {**inner, "model": name}
    return write


def _settings(native: NativeRequest, call: Call, target: Target) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return what the configuration sets for this target, and `router.disable_thinking`, in Google's form."""
    overrides, off = target.overrides, call.options.disable_thinking
    if native.operation not in ("generateContent", "streamGenerateContent") or not (overrides or off):
        return {}, ()
    write, remove, unknown = settings_of(target, _CONFIG)
    if isinstance(write.get("stopSequences"), str):
        write["stopSequences"] = [write["stopSequences"]]
    effort = overrides.get("reasoning_effort")
    thinking = target.deployment.thinking_off if off else target.deployment.thinking.get(effort) if effort else None
    unset = [name for name in unknown if name != "reasoning_effort" or thinking is None]
    if off and thinking is None:
        unset.append("router.disable_thinking")
    if thinking:
        write |= thinking.get("generationConfig", {})
    name = "generation_config" if "generation_config" in native.spans else "generationConfig"
    before = native.member(name)
    config = {**(before if isinstance(before, dict) else {}), **write}
    for each in remove:
        config.pop(each, None)
    return ({name: config} if write or remove else {}), tuple(unset)
