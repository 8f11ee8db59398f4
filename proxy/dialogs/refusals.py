"""What clients receive for errors of the store of dialogs."""

from __future__ import annotations

from proxy.core.errors import InvalidRequest, NotFound, ProxyError, Unavailable
from proxy.store.errors import Locked, Missing, StoreError, StoreUnavailable, TooLarge


def refusal(error: StoreError) -> ProxyError:
    """Return the client's error."""
    text = f"{str(error)[:1].upper()}{str(error)[1:]}."
    if isinstance(error, Locked):
        return InvalidRequest(text, param="conversation", code="conversation_locked")
    if isinstance(error, Missing):
        return NotFound(text)
    if isinstance(error, TooLarge):
        return InvalidRequest(text, param="input", code="context_length_exceeded")
    if isinstance(error, StoreUnavailable):
        message = "The store does not answer now; try again shortly."
        return Unavailable(message, code="store_unavailable", retry_after=1.0)
    return InvalidRequest(text)
