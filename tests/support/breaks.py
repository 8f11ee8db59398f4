"""What a client receives last of a stream that its upstream ended with an error."""

from __future__ import annotations

from proxy.core.failures import UpstreamFailure
from proxy.surfaces.openai.errors import error_event
from proxy.upstream.outcome import reported_error


def last_event(fault: UpstreamFailure | None) -> bytes:
    """Return the event for a decoder's `fault`; nothing without one."""
    if fault is None:
        return b""
    error = reported_error(fault)
    error.native_event = fault.event
    return error_event(error)
