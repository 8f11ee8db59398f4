"""The errors of the store. None of their messages contains a value of a row or a password."""

from __future__ import annotations


class StoreError(Exception):
    """The store did not do what was asked."""


class StoreUnavailable(StoreError):
    """The database does not answer, or cannot be written to. The same operation may succeed later."""


class Exists(StoreError):
    """A row with this id exists already."""


class Missing(StoreError):
    """There is no row with this id."""


class InUse(StoreError):
    """The row cannot be deleted because others refer to it."""


class InvalidValue(StoreError):
    """A value cannot be stored: it contains a NUL character, is not valid Unicode, or is too long."""


class Locked(StoreError):
    """Another turn of the conversation is running; `owner` has its lock."""

    def __init__(self, message: str, owner: str | None = None) -> None:
        super().__init__(message)
        self.owner = owner


class TooLarge(StoreError):
    """The items of a dialog have more bytes than can be stored or loaded."""
