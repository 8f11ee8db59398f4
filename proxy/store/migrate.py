"""The command `signalbox migrate`, without its command line."""

from __future__ import annotations

from proxy.core.location import Location
from proxy.store.errors import StoreUnavailable
from proxy.store.failures import classify
from proxy.store.migrations import BASE, HEAD, current, known, migrate, problem


def revision_named(name: str) -> str:
    """Return the revision with this name. Raises `ValueError` if there is none."""
    names = known()
    if name == "head":
        return HEAD
    if name == BASE or name in names:
        return name
    raise ValueError(f"unknown revision `{name}`; use head, {BASE}, {', '.join(names)}")


async def migrate_to(location: Location, to: str | None) -> tuple[str | None, str | None]:
    """Migrate the schema to a revision, `HEAD` if `to` is `None`; return the revisions before and after it.

    Without `to` a schema that is newer than this version is left alone. Raises `StoreUnavailable`.
    """
    from proxy.store.engines import create_file, engine_of

    try:
        if location.kind == "sqlite":
            create_file(location.target)
        engine = engine_of(location)
        try:
            if to is None:
                revision = await current(engine)
                if revision is not None and revision >= HEAD:
                    return revision, revision
            return await migrate(engine, to or HEAD)
        finally:
            await engine.dispose()
    except Exception as exc:
        raise _unavailable(exc, location) from None


async def state_of(location: Location) -> tuple[str | None, str | None]:
    """Return the revision of the schema, and what is wrong with it. Changes nothing. Raises `StoreUnavailable`."""
    from proxy.store.engines import engine_of, file_exists

    if location.kind == "sqlite" and not file_exists(location.target):
        return None, problem(None)
    try:
        engine = engine_of(location)
        try:
            revision = await current(engine)
        finally:
            await engine.dispose()
    except Exception as exc:
        raise _unavailable(exc, location) from None
    return revision, problem(revision)


def pending_text(revision: str | None) -> str | None:
    """Return which migration of a usable schema is pending."""
    if revision is None or revision >= HEAD:
        return None
    return f"the schema has revision {revision}, which this version can use; `signalbox migrate` changes it to {HEAD}"


def _unavailable(error: Exception, location: Location) -> Exception:
    failure = classify(error)
    return error if failure is None else StoreUnavailable(f"the store {location.name} is unavailable: {failure.text}")
