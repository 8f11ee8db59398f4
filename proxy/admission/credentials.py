"""Finds the credential of a request, in any of the headers that the SDKs use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from proxy.core.errors import InvalidRequest, NotAuthenticated

KEY_HEADERS = ("x-api-key", "x-goog-api-key")  # the credential alone; `authorization` has the scheme `Bearer`
MISSING = "Send a key or a token as `authorization: Bearer ...`, `x-api-key` or `x-goog-api-key`."


def joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers by name; the values of equal names become one list (RFC 9110 section 5.3)."""
    joined: dict[str, str] = {}
    for raw, text in headers:
        name = raw.decode("latin-1")
        joined[name] = f"{joined[name]}, {text.decode('latin-1')}" if name in joined else text.decode("latin-1")
    return joined


def credential_of(headers: Mapping[str, str]) -> str | None:
    """Return the credential; `None` without one. `headers` have lower-case names, repeated ones joined by commas.

    Raises `InvalidRequest` for two different credentials, and `NotAuthenticated` for a scheme other than `Bearer`.
    """
    authorization = headers.get("authorization")
    single = authorization is not None and authorization[:7] == "Bearer " and "," not in authorization
    if authorization and single and KEY_HEADERS[0] not in headers and KEY_HEADERS[1] not in headers:  # the usual case
        return authorization[7:].strip() or None
    found = {*_bearers(authorization or ""), *(part for name in KEY_HEADERS for part in _parts(headers.get(name, "")))}
    if len(found) > 1:
        raise InvalidRequest("The request has several different credentials; send exactly one.", param="authorization")
    return found.pop() if found else None


def _bearers(value: str) -> Iterator[str]:
    for part in _parts(value):
        scheme, _, credential = part.partition(" ")
        if scheme.lower() != "bearer":
            raise NotAuthenticated("The scheme of `authorization` must be `Bearer`.")
        if credential := credential.strip():
            yield credential


def _parts(value: str) -> Iterator[str]:
    """Yield the values of a header that may have been sent several times; no credential contains a comma."""
    return (part for text in value.split(",") if (part := text.strip()))
