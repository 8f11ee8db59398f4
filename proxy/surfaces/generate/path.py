"""Google's URLs: the model and the operation in the path, and the parameters of the query."""

from __future__ import annotations

PREFIXES = ("/v1beta/models/", "/v1/models/")
_CREDENTIALS = ("key", "access_token", "oauth_token", "%24key", "$key")


def split_path(path: str) -> tuple[str, str]:
    """Return the model and the operation of `/v1beta/models/{model}:{operation}`; a model's name may have slashes."""
    name = next((path[len(prefix) :] for prefix in PREFIXES if path.startswith(prefix)), path)
    model, _, operation = name.rpartition(":")
    return model, operation


def clean_query(query: str) -> str:
    """Return a query without credentials, which are the client's own."""
    kept = [part for part in query.split("&") if part.partition("=")[0].lower() not in _CREDENTIALS]
    return "&".join(kept)
