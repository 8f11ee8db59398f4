"""Dialects by name: one instance of each, imported when it is needed."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest

from proxy.core.clock import SystemClock
from proxy.core.dialects import DIALECTS, DialectName
from proxy.dialects.table import Dialects
from tests.support.calls import deployment, provider, snapshot


@pytest.mark.parametrize("name", DIALECTS)
def test_each_dialect_has_one_instance(name: DialectName) -> None:
    dialects = Dialects(SystemClock())

    assert dialects[name] is dialects[name]


def test_the_mock_speaks_openai() -> None:
    dialects = Dialects(SystemClock())

    assert dialects["mock"] is dialects["openai"]


def test_prepared_dialects_are_there_before_a_call() -> None:
    dialects = Dialects(SystemClock())

    dialects.prepare(snapshot(*(deployment("m", provider(name, dialect="gemini")) for name in "ab")))

    assert set(dialects) == {"gemini"}


def test_modules_of_unused_dialects_are_not_imported() -> None:
    script = "import sys, proxy.app; print([name for name in sys.modules if name.endswith('.dialect')])"

    listed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert listed.strip() == "[]"


def test_every_name_has_a_row() -> None:
    assert set(DIALECTS) == set(get_args(DialectName))
