"""The command `signalbox`, with a handler for SIGUSR1 that logs the number of tasks, and a clock that may be wrong."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from types import FrameType


def log_tasks(_number: int, _frame: FrameType | None) -> None:
    """Write one line to standard output, between those of the log."""
    os.write(1, (json.dumps({"event": "tasks", "count": len(asyncio.all_tasks())}) + "\n").encode())


def skew_clock(seconds: float) -> None:
    """Set the clock of this process that many seconds ahead of that of the machine."""
    machine = time.time  # noqa: TID251, it is this clock that is skewed
    time.time = lambda: machine() + seconds  # noqa: TID251


if __name__ == "__main__":
    skew_clock(float(os.environ.get("LOAD_CLOCK_SKEW", "0")))
    from proxy.cli import main  # only now: its modules keep the clock that they find

    signal.signal(signal.SIGUSR1, log_tasks)
    main()
