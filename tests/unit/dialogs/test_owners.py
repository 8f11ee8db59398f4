"""The names of the owners of locks."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.dialogs.owners import Owners

PLACE = Owners().name("req_1").partition("/")[0]


def test_an_owner_lives_as_long_as_its_process() -> None:
    code = "from proxy.dialogs.owners import Owners; print(Owners().name('req_1')); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        owner = process.stdout.readline().strip()
        alive = Owners().has_died(owner)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and its id is not free yet
        ended = Owners().has_died(owner)
        process.wait()

    assert not alive
    assert ended
    assert owner.endswith("/req_1")
    assert Owners().has_died(owner)


def test_a_process_with_the_same_id_is_another_one() -> None:
    mine = Owners().name("req_1")
    place, pid, started, call = mine.split("/")

    assert not Owners().has_died(mine)
    assert Owners().has_died(f"{place}/{pid}/{int(started) - 1}/{call}")


@pytest.mark.skipif(not Path("/proc/self/ns/pid").is_symlink(), reason="this system has no containers")
def test_the_process_ids_of_a_container_with_the_same_host_name_are_others() -> None:
    other = PLACE.replace(os.readlink("/proc/self/ns/pid"), "pid:[1]")

    assert PLACE.startswith(socket.gethostname())
    assert other != PLACE
    assert not Owners().has_died(f"{other}/{os.getpid()}/0/req_1")


@pytest.mark.parametrize(
    "owner",
    ["", "req_1", f"{PLACE}//", f"{PLACE}/x/1/req_1", f"{PLACE}/{10**30}/1/r", "other/1/0/r"],
    ids=range(6),
)
def test_what_is_not_known_has_not_died(owner: str) -> None:
    assert not Owners().has_died(owner)
