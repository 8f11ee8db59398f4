"""Numbers that processes share."""

from __future__ import annotations

import os

from proxy.workers.board import OPEN, PID, Board


def test_each_worker_has_its_row() -> None:
    board = Board(2)
    board.row(1)[OPEN] = 7

    assert (board.row(0)[OPEN], board.row(1)[OPEN]) == (0, 7)


def test_the_processes_are_the_supervisor_and_its_workers() -> None:
    board = Board(3)
    board.row(0)[PID], board.row(2)[PID] = 10, 12

    assert board.processes() == [os.getpid(), 10, 12]
