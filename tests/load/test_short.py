"""Short forms of the checks under load: what they show must hold, whatever the speed of the machine.

Limits on time, and on what depends on many calls, count in the full forms only: `make load`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.load.__main__ import CHECKS, MODULES, SHORT, name_of

FOLDER = Path(__file__).parent


@pytest.mark.parametrize("name", SHORT)
def test_check_passes_in_its_short_form(name: str) -> None:
    command = [sys.executable, "-m", "tests.load", name, "--short"]

    result = subprocess.run(command, cwd=FOLDER.parents[1], capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout + result.stderr


def test_every_check_is_on_the_page() -> None:
    page = (FOLDER / "README.md").read_text()

    assert re.findall(r"^\| `([a-z_]+)` \| [^|]+ \| [^|]+ \|$", page, re.M) == list(CHECKS)


def test_every_module_with_a_check_is_listed() -> None:
    modules = {path.stem for path in FOLDER.glob("*.py") if re.search(r"^async def check\(", path.read_text(), re.M)}

    assert modules == {name_of(module) for module in MODULES}
