"""The endpoints besides chat. Bodies pass through to a model of the endpoint's kind and are read for routing only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy.core.body import Body, Document, parse
from proxy.core.call import Call
from proxy.core.errors import InvalidRequest
from proxy.core.model import Kind
from proxy.core.multipart import parse_form
from proxy.core.principal import UNKNOWN_CALLER, Principal
from proxy.core.snapshot import Snapshot
from proxy.surfaces.headers import forwarded
from proxy.surfaces.openai.checks import check_repeated
from proxy.surfaces.options import read_options


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint: its name in `Call.endpoint`, the kind of model that serves it, the member that it requires."""

    name: str
    path: str  # below `/v1` and below a provider's base URL
    kind: Kind
    needs: str
    form: bool = False
    default_model: str | None = None  # where OpenAI takes a call without `model`


PASSED = (
    Endpoint("completions", "/completions", "completion", "prompt"),
    Endpoint("embeddings", "/embeddings", "embedding", "input"),
    Endpoint("moderations", "/moderations", "moderation", "input", default_model="auto"),
    Endpoint("images", "/images/generations", "image", "prompt"),
    Endpoint("speech", "/audio/speech", "audio", "input"),
    Endpoint("transcriptions", "/audio/transcriptions", "audio", "model", form=True),
    Endpoint("translations", "/audio/translations", "audio", "model", form=True),
)


def read_passed(
    endpoint: Endpoint,
    raw: bytes,
    headers: Mapping[str, str],
    *,
    id: str,
    request_id: str,
    snapshot: Snapshot,
    principal: Principal = UNKNOWN_CALLER,
    path: str = "",
    query: str = "",
) -> Call:
    """Read a body as far as routing needs it. Raises `InvalidRequest` that names the parameter."""
    document = _form(raw, headers) if endpoint.form else parse(raw)
    check_repeated(document.repeated)
    body = document.body
    options = read_options(body.pop("router"), headers)
    model = body.get("model") or endpoint.default_model
    _check(endpoint, body, model)
    return Call(
        id=id,
        request_id=request_id,
        endpoint=endpoint.name,
        raw=raw,
        body=body,
        model=str(model),
        stream=bool(body.get("stream")),
        usage_asked=_usage_asked(body),
        options=options,
        headers=forwarded(headers),
        snapshot=snapshot,
        kind=endpoint.kind,
        principal=principal,
        spans=document.spans,
    )


def _form(raw: bytes, headers: Mapping[str, str]) -> Document:
    form = parse_form(raw, headers.get("content-type", ""))
    stream = form.values.get("stream", "false").lower() == "true"
    return Document(Body({**form.values, "stream": stream}), form.spans, form.repeated)


def _check(endpoint: Endpoint, body: Body, model: Any) -> None:
    if not isinstance(model, str) or not model:
        raise InvalidRequest("You must provide `model`, a name of `GET /v1/models`.", param="model")
    if body.is_null(endpoint.needs) and endpoint.needs != "model":
        raise InvalidRequest(f"You must provide `{endpoint.needs}`.", param=endpoint.needs)
    if not isinstance(body.get("stream", False), bool | None):
        raise InvalidRequest("`stream` must be a boolean.", param="stream")


def _usage_asked(body: Mapping[str, Any]) -> bool:
    options = body.get("stream_options")
    return isinstance(options, Mapping) and bool(options.get("include_usage"))
