"""The surface of `POST /v1/responses`; see `docs/responses.md`."""

from __future__ import annotations

from proxy.core.call import Call
from proxy.core.errors import ProxyError
from proxy.core.record import Record
from proxy.surfaces.base import Encoder, ReadCall
from proxy.surfaces.openai.errors import error_body
from proxy.surfaces.openai.surface import COMMENT
from proxy.surfaces.responses.encoder import encoder_of
from proxy.surfaces.responses.failed import failed_event
from proxy.surfaces.responses.request import read_response

_FORMAT = "responses"
_PARAMS = {  # of errors about the chat: what the client has sent
    "messages": "input",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
}


class ResponsesSurface:
    """OpenAI's Responses API, over any provider."""

    keep_alive = COMMENT

    @property
    def read(self) -> ReadCall:
        """The function that reads a body."""
        return read_response

    def encoder(self, call: Call, record: Record, content_type: str, *, native: bool) -> Encoder | None:
        """Return what writes the answer; `None` if a native answer passes unobserved."""
        return encoder_of(call, record, native=native)

    def error(self, error: ProxyError) -> bytes:
        """Return the body of a response: OpenAI's form of errors is the same for all of its endpoints."""
        if error.native_body is not None and error.native_format == _FORMAT:
            return error.native_body
        if error.param is not None:
            error.param = _PARAMS.get(error.param.partition("[")[0], error.param)
        return error_body(error)

    def event(self, error: ProxyError) -> bytes:
        """Return the events of a stream that fails before anything of its answer is known."""
        if error.native_event and error.native_format == _FORMAT:
            return error.native_event
        return failed_event(error)


RESPONSES = ResponsesSurface()
