"""The identified caller of a request."""

from __future__ import annotations


class Principal:
    """A caller. Calls with the same `name` wait in the queue behind each other, and share what a provider remembers."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def name(self) -> str:
        """The name in `/admin/queues`; it contains no credential."""
        return self._name


UNKNOWN_CALLER = Principal("-")
