"""The seam between attempts and the network: one request out, one answer back."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from proxy.core.types import UpstreamRequest, UpstreamResponse


class Transport(Protocol):
    """Sends one request and gives its answer, head first."""

    def send(self, request: UpstreamRequest) -> AbstractAsyncContextManager[UpstreamResponse]:
        """Raises `UpstreamFailure` where the network fails, on entering or while the body is read.

        Leaving ends the exchange: the connection is kept for the next one if the answer was read to its end, and closed
        otherwise. An exception that is no `UpstreamFailure` or `ProxyError` is an error of ours.
        """
        ...
