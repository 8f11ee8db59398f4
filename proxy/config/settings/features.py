"""Settings whose feature is not implemented yet. The change that adds a feature deletes its row from the table.

A value other than the default is rejected, so that a configuration never relies on a limit that is not enforced.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, slots=True)
class NotYet:
    """The missing feature, and the values accepted besides the default."""

    what: str
    allowed: tuple[Any, ...] = ()


# setting path, in the form of `setting_names`, to the missing feature
NOT_YET: Mapping[str, NotYet] = MappingProxyType(
    {
        "cache.enabled": NotYet("the cache"),
        "cache.ttl": NotYet("the cache"),
    }
)
