"""Responses calls that pass to a provider that has the Responses API itself (`responses: native`).

The client's bytes go out but for `model`, and the upstream's come back. Source: OpenAI's API reference, "Responses,
streaming events": an answer ends with `response.completed` or `response.incomplete`; `response.failed` and `error` are
errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.json import Decoder as JsonDecoder

from proxy.core.body import overlaid
from proxy.core.call import Call, NativeRequest
from proxy.core.clock import Clock
from proxy.core.dialects import NativeFormat
from proxy.core.failures import UpstreamFailure
from proxy.core.json_text import DECODE_ERRORS, SMALL, typed
from proxy.core.model import Provider, ProviderKey
from proxy.core.plan import Target
from proxy.core.recall import Recall
from proxy.core.sse import data_of
from proxy.core.usage import Usage, UsageBounds, asking, bounds_of, service_of
from proxy.core.wire import UpstreamRequest
from proxy.dialects.base import Decoder, Dialect
from proxy.dialects.error_details import is_error, reports_error
from proxy.dialects.held import LIMIT
from proxy.dialects.native import NativeBody, NativeEvents, kept_error, size_of
from proxy.dialects.native_request import (
    native_body,
    native_headers,
    request_of,
    settings_of,
    upstream_request,
)
from proxy.dialects.openai.dialect import url_of
from proxy.dialects.openai.errors import failure as classify
from proxy.dialects.openai.errors import failure_in_200
from proxy.dialects.openai.usage import usage_of
from proxy.dialects.permitted import only_permitted

FORMAT: NativeFormat = "responses"
_NAMES = {
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    **{
        name: name
        for name in (
            *("temperature", "top_p", "top_logprobs", "parallel_tool_calls", "metadata", "user", "safety_identifier"),
            *("service_tier", "prompt_cache_key", "prompt_cache_retention", "store", "truncation", "reasoning"),
        )
    },
}
_START = b"event: response."
_FAILED = ("response.failed", "response.cancelled", "error")
_LAST = ("response.completed", "response.incomplete")
_WITHOUT_CONTENT = ("message", "reasoning")  # types of items whose beginning is no content


class Piece(Struct, gc=False):
    """An event that adds to a text, such as `response.output_text.delta`."""

    type: str
    delta: str
    error: None = None


_decode_piece = JsonDecoder(Piece).decode


class ResponsesNative:
    """Passes requests and answers through."""

    translates = False
    passed: tuple[str, ...] = ("openai-",)

    def request(self, call: Call, target: Target, key: ProviderKey | None) -> UpstreamRequest:
        """Return the attempt's request."""
        native, deployment = request_of(call), target.deployment
        provider = deployment.provider
        write, remove, dropped = _settings(native, call, target)
        permitted, unnamed, lost = only_permitted(native, provider, call.principal)
        return upstream_request(
            target,
            url_of(provider, deployment.model, "/responses"),
            native_headers(call, native, provider, key),
            native_body(native, {**permitted, **write, "model": deployment.model}, (*unnamed, *remove)),
            (*native.dropped, *dropped, *lost),
        )

    def failure(self, status: int, headers: Mapping[str, str], body: bytes, now: float) -> UpstreamFailure:
        """Classify an answer that is not a 2xx."""
        failed = classify(status, headers, body, now)
        failed.format = FORMAT
        return failed

    def model_list(self, provider: Provider, key: ProviderKey | None) -> UpstreamRequest | None:
        """Return nothing: the dialect of chat completions has the list."""
        return None

    def decoder(self, call: Call, target: Target, headers: Mapping[str, str]) -> Decoder:
        """Return a decoder for one answer."""
        body = overlaid(call.body, target.overrides)
        bounds = bounds_of(target.deployment, body, max(len(call.raw), len(request_of(call).raw)))
        bounds = asking(bounds, service_of(request_of(call).member("service_tier")))
        return ResponseEvents(bounds) if call.stream else ResponseBody(bounds)


def build(recall: Recall, clock: Clock) -> Dialect:
    """Return the translator, which needs neither memory nor clock."""
    return ResponsesNative()


class _Errors:
    """Reads errors: those of a response object, of an event, and of chat completions."""

    def _is_error(self, value: dict[str, Any]) -> bool:
        kind = value.get("type")
        if isinstance(kind, str) and kind.startswith("response."):
            return kind in _FAILED or reports_error(value.get("error"))
        if value.get("object") == "response":
            return value.get("status") in ("failed", "cancelled")
        return (kind is None or kind == "error") and is_error(value, "output")

    def _failure(self, value: dict[str, Any], data: bytes) -> UpstreamFailure:
        response = value if value.get("object") == "response" else value.get("response")
        error = response.get("error") if isinstance(response, dict) else None
        if isinstance(response, dict) and not isinstance(error, dict):
            error = {"message": f"the response has the status `{response.get('status')}`"}
        failed = failure_in_200({"error": error} if isinstance(error, dict) else value, data)
        return kept_error(failed, FORMAT, data, fits=not isinstance(response, dict) and failed.native is not None)


class ResponseEvents(_Errors, NativeEvents):
    """The events of one response, which is complete with its last event. An event may have an image."""

    _limit = LIMIT

    def _is_plain(self, chunk: bytes) -> bool:
        if not chunk.startswith(_START) or chunk[-2:] != b"\n\n" or 13 in chunk or len(chunk) > SMALL:
            return False
        events = [event.partition(b"\ndata: ") for event in chunk[:-2].split(b"\n\n")]
        if chunk.count(b"\n") != 3 * len(events) or not all(name.endswith(b".delta") for name, _, _ in events):
            return False
        try:
            if not chunk.isascii():
                chunk.decode()  # strings that are skipped are not checked for UTF-8
            pieces = [_decode_piece(data) for _, _, data in events]
        except DECODE_ERRORS:
            return False
        if not all(piece.type.startswith("response.") for piece in pieces):
            return False
        for piece in pieces:
            self.text_bytes += size_of(piece.delta)
        return True

    def _take(self, event: bytes) -> bool:
        if not self.closed and b".delta" in event[:100]:
            data = data_of(event)
            piece = typed(_decode_piece, data) if data is not None and len(data) <= SMALL else None
            if piece is not None and piece.type.endswith(".delta") and piece.type.startswith("response."):
                self.text_bytes += size_of(piece.delta)
                self.committed = self.committed or bool(piece.delta)
                return True
        return super()._take(event)

    def _read(self, value: dict[str, Any]) -> None:
        kind = value.get("type")
        if kind in _LAST:
            self._read_last(value.get("response"))
        elif kind == "response.output_item.done":
            self.committed = True
        elif kind == "response.output_item.added":
            item = value.get("item")
            content = isinstance(item, dict) and item.get("type") not in _WITHOUT_CONTENT
            self.committed = self.committed or content
        elif isinstance(kind, str) and kind.endswith(".delta"):
            self.committed = self.committed or bool(value.get("delta"))

    def _read_last(self, response: Any) -> None:
        self.committed = self.complete = self.closed = True
        if isinstance(response, dict):
            self.usage, self.native_finish = _usage(response, self._bounds), _finish(response)


class ResponseBody(_Errors, NativeBody):
    """A whole response object."""

    _wanted = "a response"

    def _fits(self, value: dict[str, Any]) -> bool:
        return isinstance(value.get("output"), list)

    def _read(self, value: dict[str, Any]) -> None:
        self.usage = _usage(value, self._bounds)
        self.native_finish = self.finish_reason = _finish(value)


def _usage(response: Mapping[str, Any], bounds: UsageBounds) -> Usage | None:
    """Read the usage of a response object, whose counts have names of their own."""
    usage = response.get("usage")
    if not isinstance(usage, dict):
        return None
    as_chat = {
        "prompt_tokens": usage.get("input_tokens"),
        "completion_tokens": usage.get("output_tokens"),
        "total_tokens": usage.get("total_tokens"),
        "prompt_tokens_details": usage.get("input_tokens_details"),
        "completion_tokens_details": usage.get("output_tokens_details"),
    }
    return usage_of(as_chat, bounds, response.get("service_tier"))


def _finish(response: Mapping[str, Any]) -> str | None:
    """Return why the response ended: its status, or the reason why it is incomplete."""
    details, status = response.get("incomplete_details"), response.get("status")
    reason = details.get("reason") if isinstance(details, dict) else None
    return reason if isinstance(reason, str) else status if isinstance(status, str) else None


def _settings(native: NativeRequest, call: Call, target: Target) -> tuple[dict[str, Any], list[str], tuple[str, ...]]:
    """Return what the configuration sets for this target, and `router.disable_thinking`, in the form of Responses."""
    overrides, off = target.overrides, call.options.disable_thinking
    if not overrides and not off:
        return {}, [], ()
    write, remove, unknown = settings_of(target, _NAMES)
    effort = overrides.get("reasoning_effort")
    if off:
        effort = (target.deployment.thinking_off or {}).get("reasoning_effort")
    dropped = tuple(name for name in unknown if name != "reasoning_effort")
    if isinstance(effort, str):
        before = native.member("reasoning")
        write["reasoning"] = {**(before if isinstance(before, dict) else {}), "effort": effort}
    elif off:
        dropped = (*dropped, "router.disable_thinking")
    return write, remove, dropped
