"""The wheel, built here: it holds the package, the default configuration and the command."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from proxy import __version__

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    [built] = folder.glob(f"signalbox_proxy-{__version__}-*.whl")
    return zipfile.Path(built)


def test_the_wheel_carries_the_default_configuration(wheel: zipfile.Path) -> None:
    packed = (wheel / "proxy" / "config" / "default.yaml").read_text()

    assert packed == (ROOT / "config" / "signalbox.yaml").read_text()


def test_the_wheel_is_typed_and_brings_the_command(wheel: zipfile.Path) -> None:
    entry_points = (wheel / f"signalbox_proxy-{__version__}.dist-info" / "entry_points.txt").read_text()

    assert (wheel / "proxy" / "py.typed").is_file()
    assert "signalbox = proxy.cli:main" in entry_points


def test_the_wheel_holds_nothing_but_the_package(wheel: zipfile.Path) -> None:
    assert {entry.name for entry in wheel.iterdir()} == {"proxy", f"signalbox_proxy-{__version__}.dist-info"}
