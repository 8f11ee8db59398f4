"""Short forms of the checks under load: what they show must hold, whatever the speed of the machine.

Limits on time, and on what depends on many calls, count in the full forms only: `make load`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.load import idle_connections, slow_requests, stale_connections, stalled_readers, streams
from tests.load.__main__ import CHECKS, MODULES, Check, name_of
from tests.load.harness import Options
from tests.load.report import Report

SHORT: dict[str, tuple[Check, Options]] = {
    name_of(module): (module.check, options)
    for module, options in {
        idle_connections: Options(calls=100, seconds=0.5),
        slow_requests: Options(calls=3, seconds=0.4),
        stalled_readers: Options(calls=5, seconds=0.5),
        stale_connections: Options(calls=120),
        streams: Options(calls=50, seconds=1.0),
    }.items()
}


@pytest.mark.parametrize("name", SHORT)
async def test_check_passes_in_its_short_form(name: str) -> None:
    check, options = SHORT[name]
    report = Report(name, full=False)

    await check(report, options)

    assert report.failures == []


def test_every_check_is_on_the_page() -> None:
    page = Path(__file__).with_name("README.md").read_text()

    assert re.findall(r"^\| `([a-z_]+)` \| [^|]+ \| [^|]+ \|$", page, re.M) == list(CHECKS)


def test_every_module_with_a_check_is_listed() -> None:
    folder = Path(__file__).parent
    modules = {path.stem for path in folder.glob("*.py") if re.search(r"^async def check\(", path.read_text(), re.M)}

    assert modules == {name_of(module) for module in MODULES}
