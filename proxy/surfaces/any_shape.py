"""Reads the body of any endpoint that generates text, by its shape: on `POST /v1/route` the path names no format.

Chat bodies have `messages`. A body with `messages` and something that only Anthropic's API has (`anthropic-version`,
a top-level `system`, blocks of tool use) is one of the Messages API; one with `input` is of the Responses API, one with
`contents` of Google's.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from proxy.core.call import Call
from proxy.core.errors import InvalidRequest
from proxy.core.principal import UNKNOWN_CALLER, Principal
from proxy.core.snapshot import Snapshot
from proxy.surfaces.openai.chat import read_chat

_BLOCKS = (b'"tool_use"', b'"tool_result"')  # complete strings: within a text the quotes have a backslash
_SCHEMA = b'"input_schema"'


class _Shape(Struct, gc=False):
    """The members that tell formats apart."""

    messages: Raw | UnsetType = UNSET
    input: Raw | UnsetType = UNSET
    contents: Raw | UnsetType = UNSET
    system: Raw | UnsetType = UNSET
    stop_sequences: Raw | UnsetType = UNSET
    tools: Raw | UnsetType = UNSET


_read_shape = msgspec.json.Decoder(_Shape).decode


def read_any_shape(
    raw: bytes,
    headers: Mapping[str, str],
    *,
    id: str,
    request_id: str,
    snapshot: Snapshot,
    principal: Principal = UNKNOWN_CALLER,
) -> Call:
    """Read a body as the surface of its shape does. Raises `InvalidRequest` that names the member."""
    path = path_of(raw, headers)
    if path == "/v1/chat/completions":
        return read_chat(raw, headers, id=id, request_id=request_id, snapshot=snapshot, principal=principal)
    from proxy.surfaces.table import SURFACES  # only here: most bodies are chats

    surface = SURFACES[path]
    if path.startswith("/v1beta/"):
        path = path.replace("{model:path}", _model_of(raw))
    return surface.read(
        raw,
        headers,
        id=id,
        request_id=request_id,
        snapshot=snapshot,
        principal=principal,
        path=path,
        query="",
    )


def path_of(raw: bytes, headers: Mapping[str, str]) -> str:
    """Return the path of the endpoint for such bodies, as in `SURFACES`. One without a shape of its own is a chat."""
    try:
        shape = _read_shape(raw)
    except (ValueError, RecursionError):  # the reader of chats says what is wrong
        return "/v1/chat/completions"
    if shape.messages is UNSET:
        if shape.input is not UNSET:
            return "/v1/responses"
        if shape.contents is not UNSET:
            return "/v1beta/models/{model:path}:generateContent"
    elif "anthropic-version" in headers or _is_anthropic(shape):
        return "/v1/messages"
    return "/v1/chat/completions"


def _is_anthropic(shape: _Shape) -> bool:
    if shape.system is not UNSET or shape.stop_sequences is not UNSET:
        return True
    if isinstance(shape.tools, Raw) and _SCHEMA in bytes(shape.tools):
        return True
    messages = bytes(shape.messages) if isinstance(shape.messages, Raw) else b""
    return any(block in messages for block in _BLOCKS) and b'"tool_calls"' not in messages


def _model_of(raw: bytes) -> str:
    """Return the model of a body whose format has it in the path."""
    model = msgspec.json.decode(raw).get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequest("`model` must be a name of `GET /v1/models`.", param="model")
    return model
