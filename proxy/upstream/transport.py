"""The interface between attempts and the network: sends one request and returns one response."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from proxy.core.wire import UpstreamRequest, UpstreamResponse


class Transport(Protocol):
    """Sends requests and yields responses, head first."""

    def send(self, request: UpstreamRequest) -> AbstractAsyncContextManager[UpstreamResponse]:
        """Raises `UpstreamFailure` where the network fails, on entering or while the body is read.

        Leaving ends the exchange: the connection is kept for the next one if the answer was read to its end, and closed
        otherwise. Any exception other than `UpstreamFailure` or `ProxyError` is an internal error.
        """
        ...
