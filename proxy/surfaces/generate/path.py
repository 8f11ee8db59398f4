"""Google's URLs: the model and the operation in the path, and the parameters of the query."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

PREFIXES = ("/v1beta/models/", "/v1/models/")
_CREDENTIALS = ("key", "access_token", "oauth_token")


def split_path(path: str) -> tuple[str, str]:
    """Return the model and the operation of `/v1beta/models/{model}:{operation}`; a model's name may have slashes."""
    name = next((path[len(prefix) :] for prefix in PREFIXES if path.startswith(prefix)), path)
    model, _, operation = name.rpartition(":")
    return model, operation


def wants_events(query: str) -> bool:
    """Return whether a streamed answer is a stream of events; otherwise it is a JSON array."""
    return ("alt", "sse") in parse_qsl(query)


def clean_query(query: str) -> str:
    """Return a query without credentials, which are the client's own."""
    if not query:
        return ""
    return urlencode([(name, value) for name, value in parse_qsl(query) if name.lower() not in _CREDENTIALS])
