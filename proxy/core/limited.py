"""What an attempt needs of its caller's limits of models; `admission/model_limits.py` implements it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from proxy.core.failures import UpstreamFailure
from proxy.core.model import Deployment

if TYPE_CHECKING:
    from proxy.core.record import AttemptRecord


class ModelReservation(Protocol):
    """What one attempt has reserved under its caller's limits of models."""

    def end(self, attempt: AttemptRecord | None) -> None:
        """Settle with what the attempt used; `None`: nothing was sent, and nothing counts. Called once."""
        ...


class ModelLimits(Protocol):
    """The limits of models of one call's caller. Both methods raise `StateUnavailable` if they cannot be counted."""

    async def refusal(self, deployment: Deployment) -> UpstreamFailure | None:
        """Return why an attempt would be refused now; reserve nothing."""
        ...

    async def reserve(self, deployment: Deployment) -> ModelReservation | UpstreamFailure:
        """Reserve an attempt at a deployment, or return why it is refused."""
        ...
