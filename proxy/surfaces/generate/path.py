"""Google's URLs: the model and the operation in the path, and the parameters of the query."""

from __future__ import annotations

from urllib.parse import parse_qsl

PREFIXES = ("/v1beta/models/", "/v1/models/")
STREAM = "streamGenerateContent"
EVENTS = "alt=sse"


def split_path(path: str) -> tuple[str, str]:
    """Return the model and the operation of `/v1beta/models/{model}:{operation}`; a model's name may have slashes."""
    name = next((path[len(prefix) :] for prefix in PREFIXES if path.startswith(prefix)), path)
    model, _, operation = name.rpartition(":")
    return model, operation


def events_query(query: str) -> str:
    """Return the part of a query that passes to Google: `alt=sse` if it asks for events, else nothing.

    Other parameters are credentials, or change the form of the answer (`callback`, `fields`, other values of `alt`), so
    that it could not be read.
    """
    asked = parse_qsl(query)
    return EVENTS if ("alt", "sse") in asked or ("$alt", "sse") in asked else ""
