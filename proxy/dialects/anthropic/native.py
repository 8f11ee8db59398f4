"""Messages calls that pass to an Anthropic target: the client's bytes but for `model`, and the upstream's bytes back.

Sources: Anthropic's documentation, "Streaming messages" (order of events, `ping`, cumulative usage), and Claude Code's
"LLM gateway" (all `anthropic-*` headers go to the upstream; errors and rate-limit headers come back unmodified).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.core.body import overlaid
from proxy.core.call import Call, NativeRequest
from proxy.core.clock import Clock
from proxy.core.dialects import NativeFormat
from proxy.core.failures import UpstreamFailure
from proxy.core.json_text import DECODE_ERRORS, SMALL
from proxy.core.model import Provider, ProviderKey
from proxy.core.plan import Target
from proxy.core.recall import Recall
from proxy.core.usage import UNBOUNDED, Usage, UsageBounds, asking, bounds_of
from proxy.core.wire import UpstreamRequest
from proxy.dialects.anthropic.block import as_object
from proxy.dialects.anthropic.dialect import VERSION, versioned
from proxy.dialects.anthropic.errors import failure as classify
from proxy.dialects.anthropic.errors import failure_in_200, has_shape, is_error
from proxy.dialects.anthropic.typed import START, decode_delta
from proxy.dialects.anthropic.usage import Counter, named_service
from proxy.dialects.base import Decoder, Dialect
from proxy.dialects.native import NativeBody, NativeEvents, kept_error, size_of
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
from proxy.dialects.permitted import only_permitted

FORMAT: NativeFormat = "messages"
COUNT = "count_tokens"
PINGS = 4  # after so many without content the stream begins, because clients wait for a sign of life
_NAMES = {
    "max_completion_tokens": "max_tokens",
    "max_tokens": "max_tokens",
    "stop": "stop_sequences",
    **{name: name for name in ("temperature", "top_p", "top_k")},
}
_EMPTY_BLOCKS = ("text", "thinking", "redacted_thinking")  # whose start is no content
_SEPARATOR = b"\n\n" + START
_SERVICE = ("speed", "service_tier", "inference_geo")  # members that change the price
_PARTS = ("text", "thinking", "partial_json")


class AnthropicNative:
    """Passes requests and answers through."""

    translates = False
    passed: tuple[str, ...] = PASSED_HEADERS

    def request(self, call: Call, target: Target, key: ProviderKey | None) -> UpstreamRequest:
        """Return the attempt's request."""
        native, deployment = request_of(call), target.deployment
        counts = native.operation == COUNT
        write, remove, dropped = ({}, [], ()) if counts else _settings(native, call, target)
        if isinstance(write.get("stop_sequences"), str):
            write["stop_sequences"] = [write["stop_sequences"]]
        permitted, unnamed, lost = only_permitted(native, deployment.provider, call.principal)
        return upstream_request(
            target,
            f"{versioned(deployment.provider.base_url)}/messages{'/' + COUNT if counts else ''}"
            f"{native_query(native.query)}",
            _headers(call, native, deployment.provider, key),
            native_body(native, {**permitted, **write, "model": deployment.model}, (*unnamed, *remove)),
            (*native.dropped, *dropped, *lost),
        )

    def failure(self, status: int, headers: Mapping[str, str], body: bytes, now: float) -> UpstreamFailure:
        """Classify an answer that is not a 2xx, and keep its body and its headers for the client."""
        failed = kept_error(classify(status, headers, body, now), FORMAT, body, fits=has_shape(body))
        failed.headers = passed_headers(headers)
        return failed

    def model_list(self, provider: Provider, key: ProviderKey | None) -> UpstreamRequest | None:
        """Return nothing: the translating dialect has the list."""
        return None

    def decoder(self, call: Call, target: Target, headers: Mapping[str, str]) -> Decoder:
        """Return a decoder for one answer."""
        native = request_of(call)
        if native.operation == COUNT:
            return CountBody()
        body = overlaid(call.body, target.overrides)
        bounds = bounds_of(target.deployment, body, max(len(call.raw), len(native.raw)))
        bounds = asking(bounds, named_service({name: native.member(name) for name in _SERVICE}))
        return MessageEvents(bounds) if call.stream else MessageBody(bounds)


def build(recall: Recall, clock: Clock) -> Dialect:
    """Return the translator, which needs neither memory nor clock."""
    return AnthropicNative()


class _Errors:
    """Reads errors in Anthropic's shape."""

    def _is_error(self, value: dict[str, Any]) -> bool:
        return is_error(value)

    def _failure(self, value: dict[str, Any], data: bytes) -> UpstreamFailure:
        return kept_error(failure_in_200(value), FORMAT, data, fits=has_shape(data))


class MessageEvents(_Errors, NativeEvents):
    """The events of one message.

    `complete`: the stop reason was read and no content followed it, or `message_stop` was read, which closes.
    """

    def __init__(self, bounds: UsageBounds = UNBOUNDED) -> None:
        super().__init__(bounds)
        self._counter = Counter(bounds)
        self._started = False
        self._pings = 0

    def _is_plain(self, chunk: bytes) -> bool:
        text = chunk[len(START) : -2]
        if not chunk.startswith(START) or chunk[-2:] != b"\n\n" or 13 in text or len(text) > SMALL:
            return False
        lines = text.split(_SEPARATOR)
        try:
            if not text.isascii():
                text.decode()  # strings that are skipped are not checked for UTF-8
            values = list(map(decode_delta, lines))
        except DECODE_ERRORS:
            return False
        if 10 in text and text.count(b"\n") != 3 * len(lines) - 3:  # an event of several lines
            return False
        for value in values:
            delta = value.delta
            self.text_bytes += size_of(delta.text or delta.thinking or delta.partial_json)
        self.complete = False
        return True

    def _read(self, value: dict[str, Any]) -> None:
        reader = self._READERS.get(str(value.get("type")))
        if reader is not None:
            reader(self, value)

    def _end(self) -> None:
        self.complete = self.complete or self.native_finish is not None

    def _start(self, value: dict[str, Any]) -> None:
        self._started = True
        self._count(as_object(value.get("message")).get("usage"))

    def _block_start(self, value: dict[str, Any]) -> None:
        block = as_object(value.get("content_block"))
        self.complete = False
        self.committed = self.committed or block.get("type") not in _EMPTY_BLOCKS or bool(block.get("text"))

    def _block_delta(self, value: dict[str, Any]) -> None:
        delta = as_object(value.get("delta"))
        self.complete = False
        size = sum(size_of(text) for name in _PARTS if isinstance(text := delta.get(name), str))
        self.text_bytes += size
        self.committed = self.committed or size > 0

    def _message_delta(self, value: dict[str, Any]) -> None:
        self._count(value.get("usage"))
        reason = as_object(value.get("delta")).get("stop_reason")
        if isinstance(reason, str) and reason:
            self.native_finish = reason
            self.committed = self.complete = True

    def _stop(self, value: dict[str, Any]) -> None:
        if not self.committed:
            raise self._broken("ended without content and without a stop reason")
        self.complete = self.closed = True

    def _ping(self, value: dict[str, Any]) -> None:
        self._pings += self._started
        self.committed = self.committed or self._pings >= PINGS

    def _count(self, usage: Any) -> None:
        self.usage = self._counter.add(usage)

    _READERS = {
        "message_start": _start,
        "content_block_start": _block_start,
        "content_block_delta": _block_delta,
        "message_delta": _message_delta,
        "message_stop": _stop,
        "ping": _ping,
    }


class MessageBody(_Errors, NativeBody):
    """A whole message."""

    _wanted = "a message"

    def _fits(self, value: dict[str, Any]) -> bool:
        return isinstance(value.get("content"), list) and bool(value["content"] or value.get("stop_reason"))

    def _read(self, value: dict[str, Any]) -> None:
        self.usage = Counter(self._bounds).add(value.get("usage"))
        reason = value.get("stop_reason")
        self.native_finish = self.finish_reason = reason if isinstance(reason, str) else None


class CountBody(_Errors, NativeBody):
    """A count of tokens, which costs nothing."""

    _wanted = "a count of tokens"

    def _fits(self, value: dict[str, Any]) -> bool:
        return type(value.get("input_tokens")) is int

    def _read(self, value: dict[str, Any]) -> None:
        self.usage = Usage()


def _settings(native: NativeRequest, call: Call, target: Target) -> tuple[dict[str, Any], list[str], tuple[str, ...]]:
    """Return what the configuration sets for this target, and `router.disable_thinking`, in Anthropic's form."""
    overrides, deployment = target.overrides, target.deployment
    off = call.options.disable_thinking
    if not overrides and not off:
        return {}, [], ()
    write, remove, unknown = settings_of(target, _NAMES)
    members = deployment.thinking.get(str(overrides.get("reasoning_effort")))
    dropped = tuple(name for name in unknown if name != "reasoning_effort" or members is None)
    if off:
        members = deployment.thinking_off
        if members is None:
            return write, remove, (*dropped, "router.disable_thinking")
        remove = [*remove, "thinking"]
    for name, value in (members or {}).items():
        before = native.member(name)
        write[name] = {**before, **value} if isinstance(before, dict) and isinstance(value, Mapping) else value
    return write, remove, dropped


def _headers(call: Call, native: NativeRequest, provider: Provider, key: ProviderKey | None) -> dict[str, str]:
    """Return the request's headers; the client's version and features reach the upstream."""
    headers = {"anthropic-version": provider.api_version or VERSION, **native_headers(call, native, provider, key)}
    configured = next((value for name, value in provider.headers.items() if name.lower() == "anthropic-beta"), None)
    asked = native.headers.get("anthropic-beta") or call.headers.get("anthropic-beta")
    betas = [betas for betas in (configured, asked) if betas]
    if betas:
        headers["anthropic-beta"] = ",".join(betas)
    return headers
