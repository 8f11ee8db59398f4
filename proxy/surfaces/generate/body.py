"""What all requests of the family have in common: the body's members, our options in it, and the model in the path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from proxy.core.body import parse
from proxy.core.call import NativeRequest, RouterOptions
from proxy.core.errors import InvalidRequest
from proxy.core.spans import edit
from proxy.surfaces.generate.fields import members_of
from proxy.surfaces.generate.path import STREAM, events_query, split_path
from proxy.surfaces.openai.checks import check_unique
from proxy.surfaces.options import read_options


class Request(NamedTuple):
    """A request as far as it does not depend on its operation."""

    model: str
    operation: str
    members: dict[str, Any]  # under their camelCase names, without `router`
    options: RouterOptions
    native: NativeRequest


def read_request(raw: bytes, headers: Mapping[str, str], path: str, query: str) -> Request:
    """Read a request. Raises `InvalidRequest` if its body is no JSON object, or names no model."""
    model, operation = split_path(path)
    if not model:
        raise InvalidRequest("The path must name a model: `/v1beta/models/{model}:generateContent`.", param="model")
    document = parse(raw)
    check_unique(document.repeated)
    spans = document.spans
    options = read_options(document.body.pop("router"), headers)
    if "router" in spans:  # no provider knows it
        raw = edit(raw, spans, {}, ("router",))
        spans = parse(raw).spans
    query = events_query(query) if operation == STREAM else ""
    native = NativeRequest("generate", raw, spans, query, operation=operation)
    return Request(model, operation, members_of(dict(document.body), "body"), options, native)
