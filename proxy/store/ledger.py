"""The ledger in the database: every call and every attempt, and sums of usage and spend."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any

from proxy.core.ledger import AttemptRow, CallRow
from proxy.store.database import LOOKUP_SECONDS, Database
from proxy.store.errors import StoreError
from proxy.store.values import cleaned

_LOG = logging.getLogger(__name__)

_PAGE = 500  # rows with decision records that are read at once
MAX_LIST = 1001  # one more than a page, to see whether there is another one


class LedgerStore:
    """Every method raises `StoreUnavailable` while the database does not work. Times are microseconds since 1970."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, calls: Sequence[CallRow], attempts: Sequence[AttemptRow]) -> None:
        """Write the rows in one transaction, and add them to the sums.

        It can be repeated: a row that was written already changes nothing, or replaces what it completes.
        """
        if not calls and not attempts:
            return
        await self._database.open()  # imports SQLAlchemy in a thread
        from proxy.store import recording

        try:
            await self._database.write(lambda connection: recording.write(connection, calls, attempts))
        except StoreError:
            raise
        except Exception as exc:  # of a driver, because of a value: one row must not block all that follow
            calls, attempts = [cleaned(call) for call in calls], [cleaned(attempt) for attempt in attempts]
            await self._database.write(lambda connection: recording.write(connection, calls, attempts))
            _LOG.warning("records had values that cannot be stored", extra={"fields": {"kind": type(exc).__name__}})

    async def spent(self, scope: str, id: str, start: int, end: int) -> int:
        """Return the nano-dollars spent from `start` to `end`, which are multiples of a quarter hour.

        `scope` is `total` (with the id ""), `provider`, `team`, `user` or `key`. Attempts with provider keys of users
        are not included.
        """
        await self._database.open()
        from proxy.store import reports

        return await self._database.read(
            lambda connection: reports.spent(connection, scope, id, start, end), LOOKUP_SECONDS
        )

    async def usage(
        self, group_by: Sequence[str], filters: Mapping[str, Any], start: int, end: int
    ) -> list[dict[str, Any]]:
        """Return the sums by group, from `start` to `end`, both rounded outward to full hours.

        `group_by` names any of key, user, team, provider, model, route, day, hour and minute, which rounds to minutes
        and sums the records that are kept. `filters` maps the first six to a value or a list of values. A row has each
        group under its name (`None` where a call has none; times as microseconds), and `requests`, `errors`,
        `attempts`, `input_tokens`, `cached_tokens`, `cache_write_tokens`, `output_tokens`, `reasoning_tokens`,
        `audio_tokens`, `cost_nusd`, and `own_key_nusd`: what was paid with provider keys of users, which `cost_nusd`
        does not include.

        Raises `InvalidValue` for unknown groups or filters, and if there are more than 10,000 groups.

        `model` is the provider's id of the model. Requests count for the target that answered, tokens and cost for
        the targets of all attempts.
        """
        await self._database.open()
        from proxy.store import reports

        return await self._database.report(lambda connection: reports.usage(connection, group_by, filters, start, end))

    async def requests(self, filters: Mapping[str, Any], after: str | None = None, limit: int = 100) -> list[CallRow]:
        """Return calls, the newest first, without their decision records.

        `filters` maps key, user, team, model (as the client or the provider names it), provider, route, status,
        outcome and client_id to a value or a list of values, and start and end to times. `after` is the id of the
        last call of the previous page. Raises `Missing` if there is no such call.
        """
        await self._database.open()
        from proxy.store import reports

        return await self._database.report(
            lambda connection: reports.requests(connection, filters, after, min(limit, MAX_LIST))
        )

    async def decided(
        self, start: int, end: int, *, models: Sequence[str] = (), most: int = 100_000
    ) -> AsyncIterator[CallRow]:
        """Yield the calls from `start` to `end` with their decision records, the earliest first.

        If there are more than `most`, the newest of them.
        """
        await self._database.open()
        from proxy.store import reports

        first = await self._database.report(lambda connection: reports.time_of_newest(connection, start, end, most))
        after, full = (start if first is None else first, ""), True
        while full:
            page = await self._database.report(
                partial(reports.decided, start=after, end=end, model=list(models) or None, limit=_PAGE)
            )
            for row in page:
                yield row
            full = len(page) == _PAGE
            after = (page[-1].time, page[-1].id) if page else after

    async def request(self, id: str) -> tuple[CallRow, list[AttemptRow]] | None:
        """Return one call with its decision record, and its attempts."""
        await self._database.open()
        from proxy.store import reports

        return await self._database.read(lambda connection: reports.request(connection, id))
