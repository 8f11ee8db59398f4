"""The training of the prompt classifier, where its data is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest

from proxy.core.model import TASKS
from proxy.routing.classify.trained import FILE
from proxy.routing.train.data import Labelled
from proxy.routing.train.fit import STEP, hints_of
from proxy.routing.train.templates import make_prompts, multiple_choice, read_templates

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


def test_a_template_that_repeats_a_sentence_gets_different_ones() -> None:
    sentences = [f"Sentence number {number}." for number in range(1000)]
    prompts = [text for text, _ in make_prompts(sentences, ["A passage."], ["pass"], each=100)]
    pair = next(text for text in prompts if text.lower().startswith("do these two sentences"))

    first, second = pair.splitlines()[1:]
    assert first != second


def test_a_multiple_choice_question_has_the_letters_of_its_options() -> None:
    assert multiple_choice(0, "Why {x}?", ["one", "two"]) == "Why {x}?\nA. one\nB. two"
    assert multiple_choice(6, "Why?", ["one", "two"]) == "Question: Why?\nOptions:\nA) one\nB) two\nAnswer:"


def test_hints_compare_prompts_of_one_source_only() -> None:
    prompts = [
        Labelled("1 + 1", "math", "svamp", steps=1),
        Labelled("1 + 1 + 1", "math", "svamp", steps=2),
        Labelled("Hi", "chat", "clinc-oos"),
        Labelled("Prove it.", "math", "arena-hard-v2"),
        Labelled("2 * 3 * 4", "math", "mathqa", steps=2),
    ]

    hints = hints_of(prompts, {"poem": numpy.zeros(64)})

    assert [harder.tolist() for _, harder in hints] == [[STEP, 2 * STEP], [2 * STEP]]
