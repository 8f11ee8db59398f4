"""The command `signalbox`, with a handler for SIGUSR1 that logs the number of tasks."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from types import FrameType

from proxy.cli import main


def log_tasks(_number: int, _frame: FrameType | None) -> None:
    """Write one line to standard output, between those of the log."""
    os.write(1, (json.dumps({"event": "tasks", "count": len(asyncio.all_tasks())}) + "\n").encode())


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, log_tasks)
    main()
