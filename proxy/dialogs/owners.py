"""Names of the owners of locks. A name identifies the process that runs a turn, so that others see whether it has died.

A lock that is not renewed expires. The lock of a process on this machine need not expire first: it is known to be free
if the process does not exist, or if another process has its id now.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path


class Owners:
    """The names of this process's turns."""

    def __init__(self) -> None:
        pid = os.getpid()
        self._process = f"{_place()}/{pid}/{_started(pid)}/"

    def name(self, call_id: str) -> str:
        """Return the owner's name for the turn of a call."""
        return self._process + call_id

    def has_died(self, owner: str) -> bool:
        """Return whether the process of an owner has certainly died; of another host or container that is unknown."""
        place, _, rest = owner.partition("/")
        pid, _, rest = rest.partition("/")
        started, _, _ = rest.partition("/")
        if place != self._process.partition("/")[0] or not pid.isdigit():
            return False
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):
            return False
        return _started(int(pid)) != started


def _place() -> str:
    """Return a name for where process ids are unique. Containers can have the same host name, and ids of their own."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()}:{boot}:{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> str:
    """Return when a process was started, in ticks since the system's start.

    Empty if the system does not say, or if the process has ended and only its parent has not noticed.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    state, *numbers = stat.rpartition(")")[2].split()
    return "" if state in ("Z", "X") else numbers[18]
