"""What we remember of an answer for the next turn, for clients that do not send it back: bounded in number and time.

Providers sign their models' thinking and want the signature again with the tool results. A client that echoes what it
got brings it; for one that does not, it is kept here, under the tool call's id.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from proxy.core.clock import Clock

MOST = 10_000
LONGEST = 3600.0  # seconds


class Recall:
    """A small memory that forgets the oldest first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, Any]] = OrderedDict()

    def keep(self, name: str, value: Any) -> None:
        """Remember `value` under `name`."""
        self._kept[name] = (self._clock.monotonic() + LONGEST, value)
        self._kept.move_to_end(name)
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)

    def find(self, name: str) -> Any | None:
        """What was kept under `name`, or None."""
        found = self._kept.get(name)
        if found is None or found[0] < self._clock.monotonic():
            self._kept.pop(name, None)
            return None
        return found[1]
