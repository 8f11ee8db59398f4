"""Settings whose feature is not there yet: a table from which the change that brings the feature deletes its row.

A row's value is refused wherever it differs from the default, so that nobody believes in a limit that nothing enforces.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True)
class NotYet:
    """What is missing, and the values that work beside the default."""

    what: str
    allowed: tuple[Any, ...] = ()


# by the path of the setting, as `setting_names` writes it
NOT_YET: Mapping[str, NotYet] = MappingProxyType(
    {
        "server.workers": NotYet("more than one worker"),
        "server.memory_watermark": NotYet("shedding load by memory"),
        "store": NotYet("a store other than `sqlite` and `none`", allowed=("sqlite", "none")),
        "state": NotYet("shared state"),
        "dependencies": NotYet("a policy for failing dependencies"),
        "auth.mode": NotYet("authentication of callers"),
        "auth.jwt": NotYet("authentication by JWT"),
        "routing.classifier.kind": NotYet("a classifier other than `rules`"),
        "budgets": NotYet("a budget"),
        "defaults": NotYet("defaults for users and keys"),
        "cache.enabled": NotYet("the cache"),
        "cache.ttl": NotYet("the cache"),
        "logs.requests": NotYet("a log of requests"),
    }
)
