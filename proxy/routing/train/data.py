"""The training data: files of a folder, with labels for those prompts that have none.

    mmlu_pro_nonmmlu.jsonl.gz   exam questions, with the result of each of 29 models
    mmlu_pro_models.json        the models
    task_prompts.jsonl.gz       prompts with a task, or with a hint of it (`name`, `cluster`)
    word_vectors_64.npz         vectors of words

`docs/routing.md` lists the sources and licences of the texts. The package contains none of them.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.routing.train.labels import tasks_of

QUESTIONS, MODELS, PROMPTS, VECTORS = (
    "mmlu_pro_nonmmlu.jsonl.gz",
    "mmlu_pro_models.json",
    "task_prompts.jsonl.gz",
    "word_vectors_64.npz",
)
# The difficulty of a question is the share of these models, of 7 to 70 billion parameters, that fail it.
JUDGES = (
    "Meta-Llama-3-8B",
    "Meta-Llama-3-70B",
    "Mixtral-8x7B-Instruct-v0.1",
    "Mistral-7B-Instruct-v0.2",
    "Qwen1.5-7B-Chat",
    "Qwen1.5-72B-Chat",
    "Yi-34B",
    "gemma-7b",
)


@dataclass(frozen=True, slots=True)
class Question:
    """An exam question, with the result of each model: True, False, or `None` if it is missing."""

    text: str
    options: tuple[str, ...]
    category: str
    source: str  # the collection that it comes from
    results: dict[str, bool]

    @property
    def difficulty(self) -> float:
        """The share of the judges that fail it."""
        results = [self.results[model] for model in JUDGES if model in self.results]
        return 1 - sum(results) / len(results)

    @property
    def with_options(self) -> str:
        """The question with its first four options, as multiple-choice prompts have them."""
        listed = (f"{letter}. {option}" for letter, option in zip("ABCD", self.options, strict=False))
        return "\n".join((self.text, *listed))


@dataclass(frozen=True, slots=True)
class Labelled:
    """A prompt with its task."""

    text: str
    task: str
    source: str
    steps: int | None = None  # of the calculation, where the source has them


@dataclass(frozen=True, slots=True)
class Data:
    """All training data."""

    questions: Sequence[Question]
    prompts: Sequence[Labelled]
    vectors: dict[str, Any]  # of words: arrays of 64 numbers
    sha256: str  # of the files


def read_data(folder: Path) -> Data:
    """Read the files of a folder. Raises `OSError` if one is missing."""
    import numpy

    contents = [(folder / name).read_bytes() for name in (QUESTIONS, MODELS, PROMPTS, VECTORS)]
    models = json.loads(contents[1])["models"]
    questions = [_question(row, models) for row in _rows(contents[0])]
    rows = _rows(contents[2])
    tasks = tasks_of(rows)
    prompts = [
        Labelled(row["text"], task, row["source"], row.get("ops"))
        for row, task in zip(rows, tasks, strict=True)
        if task
    ]
    with numpy.load(folder / VECTORS) as file:
        words = str(file["words"]).split("\n")
        vectors = dict(zip(words, file["vectors"].astype(numpy.float64) * float(file["scale"]), strict=True))
    digest = hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents)).hexdigest()
    return Data(questions, prompts, vectors, digest)


def _rows(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(content).splitlines()]


def _question(row: dict[str, Any], models: Sequence[str]) -> Question:
    results = {model: mark == "1" for model, mark in zip(models, row["ok"], strict=True) if mark != "-"}
    source = row["src"].split("-")[0]
    return Question(row["q"], tuple(row["options"]), row["category"], source, results)
