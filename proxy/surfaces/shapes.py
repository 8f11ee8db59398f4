"""The format of an error outside of a call: that of the client, by the path and the headers of its request.

A call's errors are written by its surface. Other paths, and requests that are rejected before a call begins, have none.
"""

from __future__ import annotations

from collections.abc import Iterable

from proxy.core.errors import ProxyError
from proxy.surfaces.openai.errors import error_body

_MESSAGES = "/v1/messages"
_GENERATE = "/v1beta/"
_GOOGLE = (b"x-goog-api-key", b"x-goog-api-client")  # headers of Google's clients
_ANTHROPIC = b"anthropic-version"  # a header that all of Anthropic's clients send


def is_google(path: str, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether a request comes from a client of Google's API; `headers` have lower-case names."""
    return path.startswith(_GENERATE) or any(name in _GOOGLE for name, _ in headers)


def error_for(error: ProxyError, path: str, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return an error as the body of a response; `headers` have lower-case names."""
    messages = path == _MESSAGES or path.startswith(_MESSAGES + "/")
    if not messages and is_google(path, headers):
        from proxy.surfaces.generate.errors import error_body as google_body  # only here: most clients are others

        return google_body(error)
    if messages or any(name == _ANTHROPIC for name, _ in headers):
        from proxy.surfaces.messages.errors import error_body as messages_body  # only here: most clients are others

        return messages_body(error)
    return error_body(error)
