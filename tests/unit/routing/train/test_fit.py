"""The training of the prompt classifier, where its data is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.core.model import TASKS
from proxy.routing.classify.trained import FILE
from proxy.routing.train.templates import make_prompts, read_templates

ROOT = Path(__file__).parents[4]
DATA = Path(os.environ.get("SIGNALBOX_ROUTING_DATA", ROOT.parent / "shared" / "routing-data"))


@pytest.mark.skipif(not DATA.is_dir(), reason="the training data is not here")
def test_training_makes_the_model_of_the_package(tmp_path: Path) -> None:
    out = tmp_path / "model.bin"

    command = [sys.executable, "-m", "proxy.routing.train", "--data", str(DATA), "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)

    assert out.read_bytes() == FILE.read_bytes()


def test_missing_data_is_reported(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "proxy.routing.train", "--data", str(tmp_path), "--out", str(tmp_path / "m")]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)

    assert ended.returncode == 1
    assert "cannot read the training data" in ended.stderr


def test_templates_make_the_same_prompts_for_every_task() -> None:
    prompts = make_prompts(["A sentence."], ["A passage."], ["pass"], each=40)

    assert {task for _, task in prompts} == set(TASKS)
    assert prompts == make_prompts(["A sentence."], ["A passage."], ["pass"], each=40)


def test_every_template_is_filled() -> None:
    prompts = make_prompts(["A sentence."], ["A passage."], ["pass"], each=len(max(read_templates().values(), key=len)))

    assert [text for text, _ in prompts if any(name in text for name in ("{t}", "{l}", "{s}", "{p}", "{k}"))] == []
