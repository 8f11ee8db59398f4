"""Anthropic dialect: translates OpenAI chat requests to Anthropic's Messages API, and its answers back.

`request` (with messages, parts, tools, structure, thinking) translates requests, `stream` (with answer and errors)
answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.core.call import Call
from proxy.core.clock import Clock
from proxy.core.errors import InvalidRequest
from proxy.core.failures import UpstreamFailure
from proxy.core.model import Provider, ProviderKey
from proxy.core.plan import Target
from proxy.core.recall import Recall
from proxy.core.usage import bounds_of
from proxy.core.wire import UpstreamRequest
from proxy.dialects.anthropic.answer import Answer
from proxy.dialects.anthropic.errors import failure as classify
from proxy.dialects.anthropic.request import accepted_of, native_request
from proxy.dialects.anthropic.stream import AnthropicDecoder
from proxy.dialects.anthropic.structure import structure_of
from proxy.dialects.anthropic.tools import MEMBERS, KnownTools, names_of
from proxy.dialects.base import Decoder, Dialect
from proxy.dialects.credential import credential
from proxy.dialects.memory import Memory
from proxy.dialects.model_lists import list_request
from proxy.dialects.refused import request_body
from proxy.dialects.schema.forms import Forms
from proxy.dialects.writer import AnswerWriter, answer_id, is_legacy

VERSION = "2023-06-01"
_OWN_HEADERS = ("content-type", "accept")  # set by the dialect, not by the client


class AnthropicDialect:
    """Translator; `recall` stores signed thinking for clients that do not send it back."""

    translates = True
    passed: tuple[str, ...] = ("openai-",)

    def __init__(self, recall: Recall, clock: Clock) -> None:
        self._recall = recall
        self._clock = clock
        self._forms = Forms(MEMBERS)
        self._tools = KnownTools()

    def request(self, call: Call, target: Target, key: ProviderKey | None) -> UpstreamRequest:
        """Return the attempt's request. Raises `InvalidRequest` if Anthropic's API does not support it."""
        deployment = target.deployment
        if call.endpoint != "chat":
            message = (
                f"`{deployment.name}`: Anthropic's API has no {call.endpoint}; choose a model of another provider."
            )
            raise InvalidRequest(message, param="model")
        accepted = accepted_of(call.body, target)
        native = native_request(
            accepted,
            deployment,
            stream=call.stream,
            no_thinking=call.options.disable_thinking,
            recalled=Memory(self._recall, call, deployment).find,
            forms=self._forms,
            known=self._tools,
            raw_tools=_raw_tools(call, target, accepted.body),
            hosted=call.hosted,
            forced=call.forced,
        )
        return UpstreamRequest(
            url=f"{versioned(deployment.provider.base_url)}/messages",
            headers=_headers(call, deployment.provider, key),
            content=request_body(native.body),
            connect_timeout=deployment.timeouts.connect,
            proxy=deployment.provider.proxy,
            ca=deployment.provider.ca,
            dropped=native.dropped,
        )

    def failure(self, status: int, headers: Mapping[str, str], body: bytes, now: float) -> UpstreamFailure:
        """Classify an answer that is not a 2xx; `now` is seconds since the epoch."""
        return classify(status, headers, body, now)

    def model_list(self, provider: Provider, key: ProviderKey | None) -> UpstreamRequest | None:
        """Return the request for `/v1/models`."""
        version = {"anthropic-version": provider.api_version or VERSION}
        return list_request(provider, key, f"{versioned(provider.base_url)}/models?limit=1", version)

    def decoder(self, call: Call, target: Target, headers: Mapping[str, str]) -> Decoder:
        """Return a decoder for one answer. The type is detected from the body, not from `headers`."""
        deployment = target.deployment
        body = accepted_of(call.body, target).body
        writer = AnswerWriter(
            id=answer_id(call.id),
            created=int(self._clock.time()),
            model=deployment.model,
            stream=call.stream,
            usage_asked=call.usage_asked,
            functions=is_legacy(body),
            bounds=bounds_of(deployment, body, len(call.raw)),
            seed=call.raw,
            searches=bool(call.hosted),
        )

        keep = Memory(self._recall, call, deployment).keep
        structure = structure_of(body, deployment, self._forms)
        translation = self._tools.find(_raw_tools(call, target, body), deployment)
        names = names_of(body, structure, translation) if body.get("tools") or body.get("functions") else None
        return AnthropicDecoder(Answer(writer, structure, keep, names), writer, stream=call.stream)


def build(recall: Recall, clock: Clock) -> Dialect:
    """Return the translator."""
    return AnthropicDialect(recall, clock)


def _raw_tools(call: Call, target: Target, body: Mapping[str, Any]) -> bytes:
    """Return the client's bytes of `tools`; empty if the tools of `body` have another source too."""
    span = call.spans.get("tools")
    if span is None or not body.get("tools") or body.get("functions") or "tools" in target.overrides:
        return b""
    return call.raw[span.value : span.end]


def versioned(base: str) -> str:
    """Return the base URL with the API's version at its end."""
    base = base.rstrip("/")
    return base if base.endswith("/v1") else f"{base}/v1"


def _headers(call: Call, provider: Provider, key: ProviderKey | None) -> dict[str, str]:
    configured = {name.lower(): value for name, value in provider.headers.items()}
    headers = {
        **{name: value for name, value in call.headers.items() if name not in _OWN_HEADERS},
        "content-type": "application/json",
        "accept": "text/event-stream" if call.stream else "application/json",
        "anthropic-version": provider.api_version or VERSION,
        **configured,
        "accept-encoding": "identity",
    }
    betas = [betas for betas in (configured.get("anthropic-beta"), call.headers.get("anthropic-beta")) if betas]
    if betas:
        headers["anthropic-beta"] = ",".join(betas)
    return headers | credential(provider, key)
