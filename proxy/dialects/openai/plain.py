"""A non-streamed answer in the OpenAI dialect: collected, checked to be an answer, and given on as it came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.json_text import loads
from proxy.dialects.held import HeldAnswer
from proxy.dialects.openai.errors import failure_in_200
from proxy.dialects.openai.usage import usage_of
from proxy.dialects.upstream_errors import is_error


class JsonDecoder(HeldAnswer):
    """A chat completion, given on as it came once it is whole."""

    _wanted = "a chat completion"
    _member = "choices"  # what every answer has

    def finish(self) -> bytes:
        """The whole body. Raises `UpstreamFailure` if it is empty, no JSON, an error, or not what was asked for."""
        body = bytes(self._held)
        value = _load(body)
        if isinstance(value, dict) and is_error(value, self._member):
            raise failure_in_200(value, body)
        if not self._fits(value):
            raise UpstreamFailure(FailureKind.MALFORMED, f"the upstream's answer is not {self._wanted}")
        self.usage = usage_of(value.get("usage"), self._bounds)
        self._pass()
        return body

    def _fits(self, value: Any) -> bool:
        choices = value.get("choices") if isinstance(value, dict) else None
        if not isinstance(choices, list) or not choices:
            return False
        return all(isinstance(choice, dict) and _is_message(choice) for choice in choices)


class NotAStream(JsonDecoder):
    """An answer to a streamed call that says it is JSON or a page: an error, or nothing that can be relayed."""

    def finish(self) -> bytes:
        """Raises `UpstreamFailure`, the upstream's own error if it is one."""
        super().finish()
        self.committed = self.complete = self.closed = False
        raise UpstreamFailure(FailureKind.MALFORMED, "the upstream answered a streamed call without a stream")


def _is_message(choice: Mapping[str, Any]) -> bool:
    """Whether a choice is one of a chat completion; a filter may leave no message, but a finish."""
    if isinstance(choice.get("message"), dict):
        return True
    other = choice.get("message") is not None or "delta" in choice or "text" in choice
    return bool(choice.get("finish_reason")) and not other


def _load(body: bytes) -> Any:
    if not body.strip():
        raise UpstreamFailure(FailureKind.MALFORMED, "the upstream's answer is empty")
    try:
        return loads(body)
    except (ValueError, RecursionError) as exc:
        raise UpstreamFailure(FailureKind.MALFORMED, "the upstream's answer is not JSON") from exc
