"""A non-streamed answer in the OpenAI dialect: collected, checked to be an answer, and passed on as it came."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.json_text import loads
from proxy.dialects.error_details import is_error
from proxy.dialects.held import HeldAnswer
from proxy.dialects.openai.errors import failure_in_200
from proxy.dialects.openai.typed import Answer, Vectors, completion_of
from proxy.dialects.openai.usage import usage_of


class JsonDecoder(HeldAnswer):
    """A chat completion, passed on as it came once it is whole."""

    _wanted = "a chat completion"
    _member = "choices"  # what every answer has
    _typed: Callable[[bytes], Answer | Vectors | None] = staticmethod(completion_of)  # if it is an ordinary one

    def finish(self) -> bytes:
        """Return the whole body. Raises `UpstreamFailure` if it is empty, not JSON, an error, or another answer."""
        body = bytes(self._held)
        answer = self._typed(body)
        usage, service = self._usage(body) if answer is None else (answer.usage, answer.service_tier)
        if isinstance(answer, Answer):
            self.finish_reason = answer.choices[-1].finish_reason
        if usage is not None:
            self.usage = usage_of(usage, self._bounds, service)
        self.committed = self.complete = self.closed = True
        return body

    def _usage(self, body: bytes) -> tuple[Any, Any]:
        """Check any body and return its usage and its service tier."""
        value = _load(body)
        if isinstance(value, dict) and is_error(value, self._member):
            raise failure_in_200(value, body)
        if not self._fits(value):
            raise UpstreamFailure(FailureKind.MALFORMED, f"the upstream's answer is not {self._wanted}")
        return value.get("usage"), value.get("service_tier")

    def _fits(self, value: Any) -> bool:
        choices = value.get("choices") if isinstance(value, dict) else None
        if not isinstance(choices, list) or not choices:
            return False
        return all(isinstance(choice, dict) and _is_message(choice) for choice in choices)


class NotAStream(JsonDecoder):
    """An answer to a streamed call that is labelled as JSON or a page: an error, or a body that is not relayed."""

    def finish(self) -> bytes:
        """Raises `UpstreamFailure`, the upstream's own error if the body is one."""
        super().finish()
        self.committed = self.complete = self.closed = False
        raise UpstreamFailure(FailureKind.MALFORMED, "the upstream answered a streamed call without a stream")


def _is_message(choice: Mapping[str, Any]) -> bool:
    """Whether a choice is one of a chat completion; a filter may leave a finish without a message."""
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
