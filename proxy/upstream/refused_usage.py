"""Upstreams that reject `stream_options`, with which a request asks for the usage of a stream."""

from __future__ import annotations

import logging
from dataclasses import replace

from proxy.core.plan import Target

_LOG = logging.getLogger(__name__)

MAX_DEPLOYMENTS = 10_000  # `any_model` lets clients name models; beyond it, all are forgotten


class RefusedUsage:
    """The deployments whose upstream has rejected `stream_options`: `deployments` has their names and addresses."""

    __slots__ = ("deployments",)

    def __init__(self) -> None:
        self.deployments: set[tuple[str, str]] = set()

    def add(self, target: Target) -> None:
        """Remember that the upstream of a target has rejected them."""
        if len(self.deployments) >= MAX_DEPLOYMENTS:
            self.deployments.clear()
        self.deployments.add(_identity(target))

    def discard(self, target: Target) -> None:
        """Forget it: the upstream rejects the request without them too."""
        self.deployments.discard(_identity(target))

    def adjusted(self, target: Target) -> Target:
        """Return the target, with `stream_usage: never` if its upstream has rejected them."""
        if _identity(target) not in self.deployments:
            return target
        provider = replace(target.deployment.provider, stream_usage="never")
        return replace(target, deployment=replace(target.deployment, provider=provider))

    def log(self, target: Target) -> None:
        """Warn that streams of a target have no usage."""
        deployment = target.deployment
        _LOG.warning(
            "an upstream refuses stream_options; its streams have no usage",
            extra={"fields": {"provider": deployment.provider.name, "model": deployment.model}},
        )


def _identity(target: Target) -> tuple[str, str]:
    return target.deployment.name, target.deployment.provider.base_url
